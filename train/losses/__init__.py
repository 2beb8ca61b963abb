"""The losses, one file a family."""

from train.losses.attention import AT
from train.losses.cat import CATKD
from train.losses.ce import CE
from train.losses.channels import ChannelDistillation, RobustChannelDistillation
from train.losses.crd import CRD
from train.losses.dist import DIST
from train.losses.dkd import DKD
from train.losses.fitnets import FitNets
from train.losses.ikl import IKL
from train.losses.kd import KD, GuidedKD
from train.losses.loss import Loss
from train.losses.map_matching import MapMatching
from train.losses.nd import NormDirection
from train.losses.nkd import NKD, TargetClass
from train.losses.pkt import PKT
from train.losses.pooled import L2
from train.losses.residual import ResidualKD
from train.losses.rkd import RKD
from train.losses.srd import SRD
from train.losses.srrl import SRRL
from train.losses.wkd import WKDLogits
from train.losses.wkd_maps import WKDMaps
from train.losses.wttm import WTTM

__all__ = [
    "AT",
    "CATKD",
    "CE",
    "CRD",
    "DIST",
    "DKD",
    "IKL",
    "KD",
    "L2",
    "NKD",
    "PKT",
    "RKD",
    "SRD",
    "SRRL",
    "WTTM",
    "ChannelDistillation",
    "FitNets",
    "GuidedKD",
    "Loss",
    "MapMatching",
    "NormDirection",
    "ResidualKD",
    "RobustChannelDistillation",
    "TargetClass",
    "WKDLogits",
    "WKDMaps",
]
