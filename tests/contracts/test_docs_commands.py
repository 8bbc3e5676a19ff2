"""Every command in the documentation exists, and does what it is shown to do."""

import re
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import typer
import yaml
from typer.main import get_command

from atft_gat_fan.cli.main import app
from atft_gat_fan.config.load import from_mapping, load_config
from atft_gat_fan.config.names import known_keys
from atft_gat_fan.config.overrides import expand_sweep
from atft_gat_fan.config.search_space import read_space
from tests.contracts.documents import (
    LANGUAGES,
    PAGES,
    REASONS,
    ROOT,
    Block,
    blocks,
    commands,
    commands_of_units,
    inline_commands,
)
from tests.contracts.reader import Reader, require_written
from tests.contracts.small_checkout import RUN, SmallCheckout, lend_run, make_small_checkout

TOOL = get_command(app)
MOST_NOT_RUN = 9 / 20
FIRST_READ = ("README.md", "python.md")
"""Pages whose commands are followed with the other slow tests, as every page's are with the exhaustive ones."""
DOOR = re.compile(r'main\(\["(\w+)"')
every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def require_parses(words: list[str]) -> None:
    """The command exists, takes these options, and its keys compose to a configuration."""
    command, path, arguments = TOOL, ["atft"], list(words)
    while inner := getattr(command, "commands", None):
        if arguments[:1] == ["--help"]:
            return
        assert arguments, f"{' '.join(path)}: expected one of {', '.join(inner)}"
        assert arguments[0] in inner, f"{' '.join(path)} has no command {arguments[0]}"
        command = inner[arguments[0]]
        path.append(arguments.pop(0))
    try:
        given = command.make_context(" ".join(path), list(arguments)).params
    except typer.TyperException as error:
        raise AssertionError(f"atft {' '.join(words)}: {error}") from error
    if (keys := given.get("overrides")) is not None:
        # `data check panel.parquet data=nasdaq`: what is checked is the source.
        source = ["data.source=sample"] if "overrides" in given and "data" in path else []
        if path[-1] == "search":
            keys = read_space(keys).fixed
        for some in expand_sweep(keys) if given.get("multirun") else [keys]:
            load_config([*some, *source])


def require_known(words: list[str]) -> None:
    """As far as a command in prose goes: `atft train --supervise …`, `atft data build SRC`."""
    command, words = TOOL, list(words)
    while words and (inner := getattr(command, "commands", None)):
        name = words.pop(0)
        if name in ("…", "COMMAND") or name.startswith("-"):
            return
        assert name in inner, f"no command {name}"
        command = inner[name]
    known = {option for parameter in getattr(command, "params", []) for option in parameter.opts}
    for word in words:
        if word.startswith("-") and word != "-":
            assert word.split("=")[0] in {*known, "--help"}, f"{command.name} has no option {word}"
        elif match := re.match(r"~?\+{0,2}([a-z_]+(?:\.[a-z_]+)+)(=|$)", word):
            assert match[1] in known_keys(), f"no key {match[1]}"


def require_exists(words: list[str]) -> None:
    """A command of a block, whichever program it calls."""
    program, *arguments = words
    program = Path(program).name
    if program == "atft":
        require_parses(arguments)
    elif program == "make":
        for argument in arguments:
            pattern = rf"\$\({argument.split('=')[0]}\)" if "=" in argument else rf"^{argument}:"
            assert re.search(pattern, (ROOT / "Makefile").read_text(), re.MULTILINE), f"make has no {argument}"
    elif program.startswith("python"):
        require_python_exists(arguments)


def require_python_exists(arguments: list[str]) -> None:
    first, *rest = arguments
    if first == "-c":
        compile(rest[0], "<documentation>", "exec")
        return
    if first == "-m" and rest[0] == "venv":
        return
    file = ROOT / (f"{rest[0].replace('.', '/')}.py" if first == "-m" else first)
    if first == "-m" and rest[0].startswith("atft_gat_fan"):
        file = ROOT / "src" / file.relative_to(ROOT)
    assert file.is_file(), f"no file {file.relative_to(ROOT)}"
    if door := DOOR.search(file.read_text()):
        require_parses([door[1], *rest])
    else:
        for option in (word for word in rest if word.startswith("--")):
            # A benchmark's own, or one that they share.
            texts = [file.read_text(), *(other.read_text() for other in file.parent.glob("measuring.py"))]
            assert any(f'"{option}"' in text for text in texts), f"{file.name} has no option {option}"


@every_page
def test_every_block_is_of_a_kind_that_is_looked_at(page: Path) -> None:
    for block in blocks(page):
        assert block.language in LANGUAGES, f"{block.place}: expected one of {sorted(LANGUAGES)} after ```"
        assert block.not_run is None or block.not_run.startswith(REASONS), f"{block.place}: {block.not_run}"


def test_what_is_not_run_is_the_exception() -> None:
    to_run = [block for page in PAGES for block in blocks(page) if block.language in ("sh", "python")]
    left_out = [block.place for block in to_run if block.not_run is not None]
    assert len(left_out) <= MOST_NOT_RUN * len(to_run), left_out


@every_page
def test_every_command_of_a_page_exists_with_its_options_and_keys(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for block in blocks(page):
        if block.saved_as is not None:
            Path(block.saved_as).write_text(block.text)
        if block.language == "sh":
            found = commands(block.text)
        else:
            found = list(commands_of_units(block.text)) if block.language in ("ini", "cron") else []
        for words in found:
            try:
                require_exists(words)
            except Exception as error:
                # A command that is shown to be refused.
                if not block.exit_code:
                    raise AssertionError(f"{block.place}: {' '.join(words)}: {error}") from error


@every_page
def test_every_command_in_prose_exists(page: Path) -> None:
    for text in inline_commands(page):
        for words in commands(text.replace("\\|", "|").replace("[", " ").replace("]", " "))[:1]:
            try:
                require_known(words[1:])
            except AssertionError as error:
                raise AssertionError(f"{page.name}: `{text}`: {error}") from error


@every_page
def test_every_yaml_block_is_a_configuration(page: Path) -> None:
    for block in blocks(page):
        if block.language == "yaml":
            from_mapping(yaml.safe_load(block.text))


@pytest.mark.parametrize(
    "wrong",
    [
        "atft trian", "atft train --fast", "atft train optimiser.lr=1", "atft predict runs/x --out x", "atft data",
        "make everything", "python -m benchmarks.worlds --all", "python scripts/validate_improvements.py --phase 9",
        "python scripts/nothing.py", "atft train data=nowhere",
    ],
)  # fmt: skip
def test_a_command_that_is_not_so_is_noticed(wrong: str) -> None:
    (words,) = commands(wrong)
    with pytest.raises(Exception, match=r".+"):
        require_exists(words)


@pytest.mark.parametrize("wrong", ["atft trian …", "atft train --fast …", "atft train optimizer.speed=1 …"])
def test_a_command_in_prose_that_is_not_so_is_noticed(wrong: str) -> None:
    with pytest.raises(AssertionError):
        require_known(wrong.split()[1:])


def block_of(text: str, **notes: object) -> Block:
    return replace(Block(ROOT / "README.md", 1, "text", text), **notes)


def test_comments_say_how_the_next_block_is_taken(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "- in a list\n\n  <!-- exits with 65 -->\n  ```sh\n  false\n  ```\n\n<!-- prints -->\n```text\nno\n```\n"
        "<!-- not run: takes hours -->\n```sh\nmake bench\n```\n```python\nx = 1\n```\n"
    )
    found = blocks(page)
    assert [(block.language, block.text) for block in found] == [
        ("sh", "false\n"), ("text", "no\n"), ("sh", "make bench\n"), ("python", "x = 1\n"),
    ]  # fmt: skip
    assert [(block.exit_code, block.is_output, block.not_run) for block in found] == [
        (65, False, None), (0, True, None), (0, False, "takes hours"), (0, False, None),
    ]  # fmt: skip
    page.write_text("<!-- as own.yaml -->\n```yaml\nseed: 1\n```\n")
    assert [block.saved_as for block in blocks(page)] == ["own.yaml"]
    page.write_text("<!-- not run: takes hours -->\nwords\n")
    with pytest.raises(AssertionError, match="expected a fenced block"):
        blocks(page)


def test_what_a_page_says_is_printed_must_be_in_that_order() -> None:
    written = "days     750\nerror: panel.parquet: 2 problems\n"
    require_written(block_of("days …\nerror: … problems\n"), written)
    for wrong in ("error: … problems\ndays 750\n", "days 751\n"):
        with pytest.raises(AssertionError, match="expected '"):
            require_written(block_of(wrong), written)


def test_a_shell_text_is_taken_apart_as_the_shell_does() -> None:
    text = (
        "atft train \\\n  'data.horizons=[1,5]'   # words\nday=$(date +%F)\natft predict runs/a --date \"$day\" > x\n"
    )
    assert commands(text) == [
        ["atft", "train", "data.horizons=[1,5]"],
        ["day=2020-01-02"],
        ["atft", "predict", "runs/a", "--date", "2020-01-02"],
        ["x"],
    ]


def to_run(page: Path) -> list[Block]:
    return [block for block in blocks(page) if block.not_run is None]


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> SmallCheckout:
    checkout = make_small_checkout(tmp_path_factory.mktemp("finished"))
    command = ["bash", "-c", f"atft demo --out {RUN}"]
    done = subprocess.run(command, cwd=checkout.folder, env=checkout.environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return checkout


@pytest.mark.slow
@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, marks=() if page.name in FIRST_READ else pytest.mark.exhaustive, id=page.name)
        for page in PAGES
        if any(block.language in ("sh", "python") for block in to_run(page))
    ],
)
def test_a_page_can_be_followed(page: Path, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    checkout = make_small_checkout(tmp_path)
    if any(RUN in block.text for block in to_run(page)):
        lend_run(request.getfixturevalue("finished"), checkout)
    reader = Reader(checkout)
    try:
        for block in to_run(page):
            reader.follow(block)
    finally:
        reader.leave()
