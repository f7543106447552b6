"""Goal-conditioned behavioural cloning: do what was done on the way to this goal (Ghosh et al., arXiv 1912.06088).

::

    image t ──► encoder ──┐
                          ├──► policy ──► action t           goal: a later image of the same trajectory
    goal    ──► encoder ──┘
"""

from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn

from agents.offline.imitation import act, encode_frames, imitate, pair_dim
from worldmodel.jepa import JEPA
from worldmodel.nn.layers import perceptron


class GCBC(nn.Module):
    """Imitates the actions of trajectories, given one of the images that followed as the goal.

    Args:
        encoder: Encodes images and goals; trained with the policy. It predicts nothing.
        hidden_dim: Width of the policy's hidden layers.
        num_layers: Number of hidden layers.
    """

    def __init__(self, encoder: JEPA, *, hidden_dim: int, num_layers: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.policy = perceptron(pair_dim(encoder), [hidden_dim] * num_layers, encoder.action_dim, normalized=True)

    def fit_normalization(self, pixels: UInt8[Tensor, "b f c h w"], actions: Float[Tensor, "*n a"]) -> None:
        """Fits normalisation on a sample of training data."""
        self.encoder.fit_normalization(pixels, actions)

    def forward(
        self, pixels: UInt8[Tensor, "b f c h w"], actions: Float[Tensor, "b s a"], goals: Int[Tensor, "b s"], step: int
    ) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
        """Loss and metrics of a batch of trajectories.

        Args:
            pixels: Images.
            actions: Actions between them.
            goals: For each image but the last, which later image is its goal.
            step: Training step; nothing here depends on it.
        """
        return imitate(self.encoder, self.policy, *encode_frames(self.encoder, pixels), actions, goals)

    def act(self, pixels: UInt8[Tensor, "b k x y z"], goals: UInt8[Tensor, "b x y z"]) -> Float[Tensor, "b a"]:
        """Actions towards goals, in the environment's units, from the ``k`` frames that are seen at once."""
        return act(self.encoder, self.policy, pixels, goals)
