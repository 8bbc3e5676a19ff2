import ast
from pathlib import Path

import atft_gat_fan
from atft_gat_fan.config.load import load_config
from atft_gat_fan.config.schema import Config
from atft_gat_fan.config.settings import Environment, get_settings

PACKAGE = Path(atft_gat_fan.__file__).parent


def test_settings_are_the_sections_of_the_configuration() -> None:
    settings = get_settings()
    assert settings == load_config()
    assert list(settings.__dict__) == list(Config.model_fields)


def test_the_width_is_that_of_columns() -> None:
    assert Environment.read({"COLUMNS": "99"}).columns == 99
    assert Environment.read({"COLUMNS": "wide"}).columns is None
    assert Environment.read({"COLUMNS": "0"}).columns is None
    assert Environment.read({}).columns is None


def test_no_other_file_reads_the_environment() -> None:
    readers = set()
    for file in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            name = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
            if name in {"environ", "environb", "getenv", "getenvb"}:
                readers.add(file.relative_to(PACKAGE).as_posix())
    assert readers == {"config/settings.py"}


def test_the_key_of_jquants_is_read_and_not_shown() -> None:
    environment = Environment.read({"JQUANTS_API_KEY": " abc "})
    assert environment.jquants_api_key == "abc"
    assert "abc" not in repr(environment)
    assert Environment.read({"JQUANTS_API_KEY": ""}).jquants_api_key is None
    assert Environment.read({}).jquants_api_key is None


def test_which_process_of_how_many_is_what_torchrun_says() -> None:
    variables = {"WORLD_SIZE": "4", "RANK": "3", "LOCAL_RANK": "1", "MASTER_ADDR": "a", "MASTER_PORT": "29500"}
    ranks = Environment.read(variables).ranks
    assert (ranks.rank, ranks.world_size, ranks.local_rank, ranks.missing) == (3, 4, 1, ())
    assert Environment.read({**variables, "RANK": "x", "MASTER_ADDR": ""}).ranks.missing == ("RANK", "MASTER_ADDR")
    for alone in ({}, {"WORLD_SIZE": "1", "RANK": "0"}, {"WORLD_SIZE": "many"}):
        assert Environment.read(alone).ranks.world_size == 1
