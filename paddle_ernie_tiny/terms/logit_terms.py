"""Terms for tasks of many labels, beside cross-entropy and KL: relations of answers, and target and others apart."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from ..errors import InputError
from ..sections import Weight, key
from .term import Needs, Term, TermSettings

Temperature = Annotated[float, Field(gt=0, le=1e6)]


class LogitTerm(Term):
    """A term of both models' logits for one label per row; labels from the teacher's answers where there are none."""

    latent = False
    unit = "rows"

    def check(self):
        if not self.pair.kind.one_label:
            what = f"{self.name} compares distributions over a row's labels, which a {self.pair.kind.name} task has not"
            raise InputError(what, f"objective.{self.name}", "set its weight to 0, and use soft_label")

    def needs(self, side):
        return Needs(logits=True)


class DistSettings(TermSettings):
    """Weights of the two relations; both distributions at a temperature."""

    temperature: Temperature = key(1.0, "of both distributions; the loss is times T squared")
    between_labels: Weight = key(1.0, "beta: of the relation of labels within a row")
    between_rows: Weight = key(1.0, "gamma: of the relation of rows within a label")


class Dist(LogitTerm):
    """1 - Pearson correlation of both models' probabilities, by row and by label (DIST, arXiv 2205.10536, eq. 6-10).

    The relation of rows is that of a batch: of several processes, of each one's own part.
    """

    name = "dist"
    Settings = DistSettings

    @property
    def symbol(self):
        own = self.settings
        relations = f"{own.between_labels:g} (1 - rho of rows) + {own.between_rows:g} (1 - rho of labels)"
        return f"T^2 ({relations}); T={own.temperature:g}"

    def value(self, student, teacher, mask, labels):
        from . import losses

        own = self.settings
        how = own.temperature, own.between_labels, own.between_rows
        return losses.relation_distance(student.logits, teacher.logits, *how)


class DecoupledSettings(TermSettings):
    """Weights of the two parts; both distributions at a temperature."""

    temperature: Temperature = key(1.0, "of both distributions; the loss is times T squared")
    target: Weight = key(1.0, "alpha: of the probability of the right label")
    others: Weight = key(8.0, "beta: of the distribution over the other labels")
    standardize: bool = key(False, "logits with mean 0 and deviation 1 in each row (arXiv 2403.01427)")


class DecoupledSoftLabel(LogitTerm):
    """KL of the right label against the rest, and KL over the others, each weighted (DKD, arXiv 2203.08679, eq. 7).

    The right label of a row without one is the teacher's most likely.
    """

    name = "dkd"
    Settings = DecoupledSettings

    @property
    def symbol(self):
        own = self.settings
        logits = ", standardized" * own.standardize
        return f"T^2 ({own.target:g} KL of target + {own.others:g} KL of others{logits}); T={own.temperature:g}"

    def value(self, student, teacher, mask, labels):
        import paddle

        from . import losses

        own, given = student.logits.astype("float32"), teacher.logits.astype("float32")
        right = given.argmax(-1)
        if labels is not None:
            right = paddle.where(self.pair.kind.labelled(labels), labels, right)
        if self.settings.standardize:
            own, given = losses.standardized(own), losses.standardized(given)
        how = self.settings.temperature, self.settings.target, self.settings.others
        return losses.decoupled_kl(own, given, right, *how)
