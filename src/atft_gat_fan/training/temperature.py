"""Temperature of the graph attention over the steps of a training."""

from dataclasses import dataclass

from atft_gat_fan.config.plan import GraphAttentionPlan


@dataclass(frozen=True)
class TemperatureSchedule:
    """From `plan.start` linearly to `plan.temperature` over `plan.share` of the planned steps; without it constant.

    A closed form of the step alone, so a resumed training goes on at the same value. Evaluation uses the final one.
    """

    plan: GraphAttentionPlan
    planned_steps: int

    @property
    def moves(self) -> bool:
        return self.plan.start is not None

    @property
    def final(self) -> float:
        return self.plan.temperature

    def __call__(self, step: int) -> float:
        """Temperature of step `step`, counted from 0."""
        length = self.plan.share * self.planned_steps
        if self.plan.start is None or step >= length:
            return self.final
        return self.plan.start + (self.final - self.plan.start) * step / length
