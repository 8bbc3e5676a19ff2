"""What is compared: a baseline without improvements, each improvement alone, all of them, and all but one."""

from collections.abc import Sequence
from dataclasses import dataclass

from atft_gat_fan.config.improvements import resolve
from atft_gat_fan.config.load import from_mapping
from atft_gat_fan.config.names import did_you_mean
from atft_gat_fan.config.schema import Config, ImprovementsConfig
from atft_gat_fan.errors import ConfigError

BASELINE, ALL = "baseline", "all"
WITHOUT = f"{ALL}-minus-"


@dataclass(frozen=True)
class Switch:
    """An improvement of the memo that is measured; `on` is its value in config_full.yaml."""

    title: str
    on: str
    off: str = "false"
    also: str | None = None
    """`key=value` that turns off the second key which reaches the same part."""


SWITCHES = {
    "output_head_small_init": Switch("small-init head (4.1)", "true"),
    "freq_dropout_p": Switch("FreqDropout (4.2)", "0.1", off="0.0"),
    "gat_temperature": Switch("GAT temperature (4.3)", "0.8", off="1.0"),
    "huber_loss": Switch("multi-horizon Huber loss (4.4)", "true", also="loss.type=mse"),
    "use_ema": Switch("EMA teacher (4.5)", "true", also="ema.enabled=false"),
    "online_normalization": Switch("online normalisation (4.7)", "true"),
}
"""In the order of the memo's numbers. W&B and recovery from running out of memory change no number that is compared."""

NOT_COMPARED = ("improvements.enable_wandb=false", "improvements.auto_recover_oom=false")


@dataclass(frozen=True)
class Arm:
    """One configuration of the comparison; `overrides` are laid over the baseline."""

    name: str
    title: str
    overrides: tuple[str, ...]


@dataclass(frozen=True)
class Arms:
    """`baseline` are the overrides that every arm begins with: all improvements off. `variants` are compared with it,
    `without` (all but one) with `all`. `left_out`: improvements that cannot change anything here, and why.
    """

    baseline: tuple[str, ...]
    variants: tuple[Arm, ...]
    without: tuple[Arm, ...]
    left_out: dict[str, str]


def make_arms(config: Config, only: Sequence[str] = ()) -> Arms:
    """The arms for a configuration: improvements it has switched on, at its values; where it has none, every one of
    `SWITCHES` at the value of config_full.yaml. `only` names the arms to keep, `all` among them.

    Raises ConfigError for a name that is none, or where nothing is left to compare.
    """
    _require_known(only)
    together = _switched_on(config) or {name: switch.on for name, switch in SWITCHES.items()}
    named = {name: together.get(name, switch.on) for name, switch in SWITCHES.items() if name in only}
    overrides = {name: f"improvements.{name}={value}" for name, value in (together | named).items()}
    left_out = {
        name: problem for name, override in overrides.items() if (problem := _without_effect(config, name, override))
    }
    kept = {name: overrides[name] for name in SWITCHES if name in overrides and name not in left_out}
    everything = {name: override for name, override in kept.items() if name in together}
    alone = [name for name in kept if not only or name in only]
    variants = [Arm(name, SWITCHES[name].title, (kept[name],)) for name in alone]
    with_all = (not only or ALL in only) and (len(everything) > 1 or not alone) and bool(everything)
    if with_all:
        variants.append(Arm(ALL, "all of them", tuple(everything.values())))
    if not variants:
        reasons = "; ".join(left_out.values())
        raise ConfigError(f"expected an improvement to compare, found none ({reasons}); choose others with --only")
    without = [
        Arm(f"{WITHOUT}{name}", f"all but {SWITCHES[name].title}", tuple(o for n, o in everything.items() if n != name))
        for name in alone
        if config.validation.leave_one_out and with_all and name in everything and len(everything) > 2
    ]
    return Arms(_everything_off(), tuple(variants), tuple(without), left_out)


def _require_known(only: Sequence[str]) -> None:
    known = [*SWITCHES, ALL]
    for name in only:
        if name not in known:
            hint = did_you_mean(name, known)
            raise ConfigError(f"--only {name}: expected one of {', '.join(known)}{hint}")


def _switched_on(config: Config) -> dict[str, str]:
    defaults, values = ImprovementsConfig(), config.improvements
    on = {
        name: str(getattr(values, name)).lower()
        for name in SWITCHES
        if getattr(values, name) != getattr(defaults, name)
    }
    if config.loss.type == "huber":
        on["huber_loss"] = "true"
    if config.ema.enabled:
        on["use_ema"] = "true"
    return {name: on[name] for name in SWITCHES if name in on}


def _everything_off() -> tuple[str, ...]:
    switches = [f"improvements.{name}={switch.off}" for name, switch in SWITCHES.items()]
    return (*switches, *(switch.also for switch in SWITCHES.values() if switch.also), *NOT_COMPARED)


def _without_effect(config: Config, name: str, override: str) -> str | None:
    """Why an improvement can change nothing in this network, where that is so."""
    if name == "gat_temperature" and config.model.gat.temperature_start is not None:
        return "model.gat.temperature_start moves the temperature in every arm; set it to null to compare one"
    value = override.partition("=")[2]
    typed = {"true": True, "false": False}.get(value, value)
    alone = config.model_dump(mode="json") | {"improvements": {name: float(typed) if isinstance(typed, str) else typed}}
    try:
        resolve(from_mapping(alone))
    except ConfigError as error:
        return str(error)
    return None
