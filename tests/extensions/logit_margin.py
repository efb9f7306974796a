"""A term from outside the package: the squared difference of both models' margins between their two best logits."""

from paddle_ernie_tiny import InputError, Needs, Term, TermSettings, register_term


class MarginSettings(TermSettings):
    """The term's own setting beside its weight."""

    scale: float = 1.0


@register_term
class LogitMargin(Term):
    """MSE of the margins between the two largest logits."""

    name = "logit_margin"
    latent = False
    unit = "rows"
    Settings = MarginSettings

    @property
    def symbol(self):
        return "MSE(margin_T, margin_S)"

    def check(self):
        if self.pair.kind.by_token:
            raise InputError("margins of single tokens are not compared", "objective.logit_margin", "set its weight: 0")

    def needs(self, side):
        return Needs(logits=True)

    def value(self, student, teacher, mask, labels):
        margins = [self._margin(side.logits) for side in (student, teacher)]
        return self.settings.scale * (margins[0] - margins[1]).square().mean()

    @staticmethod
    def _margin(logits):
        best = logits.astype("float32").topk(2, axis=-1)[0]
        return best[:, 0] - best[:, 1]
