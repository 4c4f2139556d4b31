"""Training of fusion networks: data, losses, a loop that survives being killed, curves and model cards."""

from fusion.training.config import FuserTrainingConfig
from fusion.training.loop import train_fuser

__all__ = ["FuserTrainingConfig", "train_fuser"]
