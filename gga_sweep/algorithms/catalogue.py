"""Every algorithm: its class, its requirements on a run, and its hyperparameters. Loads no torch.

Names are DomainBed's, as are defaults and random ranges (facebookresearch/DomainBed, domainbed/hparams_registry.py at
b93c22a; `spec.protocols` has what differs at 7df6f06), where it has them; those of the sharpness methods are the GGA
release's (aristotelisballas/GGA at 5450c2b, the same file), those of MixStyle its paper's, those of MIRO, GENIE and
SAGE their authors' (their docstrings name the files). A hyperparameter that means the same in two algorithms has one
name and one draw.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from types import MappingProxyType

from gga_sweep.algorithms.declaration import AlgorithmSpec, Hyperparameter
from gga_sweep.distributions import Distribution

_LARGE = 1e9
_MANY = 10**9

_Weight = partial(Hyperparameter, low=0.0, high=_LARGE)
_Share = partial(Hyperparameter, low=0.0, high=1.0)
_Steps = partial(Hyperparameter, low=0, high=_MANY)


def _paper_form(difference: str) -> dict[str, Hyperparameter]:
    return {"paper_form": Hyperparameter(False, 0, 1, f"as in its paper, not as in DomainBed: {difference}")}


def _loguniform(low: float, high: float) -> Distribution:
    """Of powers of ten, as DomainBed writes them."""
    return Distribution(loguniform=(10**low, 10**high))


def _anneal_steps(doc: str) -> Hyperparameter:
    return _Steps(500, doc=doc, random=Distribution(logintegers=(1, 10**4)))


_PENALTY_WEIGHT = Distribution(loguniform=(1e-1, 1e5))
_SAM_RADIUS = _Weight(
    0.05, doc="radius of the ascent (L2) before the descent", random=Distribution(choice=(0.01, 0.02, 0.05, 0.1))
)
_SHARPNESS_ALPHA = Distribution(choice=(0.01, 0.02, 0.05, 0.1))

ALGORITHMS: Mapping[str, AlgorithmSpec] = MappingProxyType(
    {
        "ERM": AlgorithmSpec("gga_sweep.algorithms.erm:ERM", numerics=1),
        "Mixup": AlgorithmSpec(
            "gga_sweep.algorithms.mixup:Mixup",
            numerics=2,
            own={
                "mixup_alpha": Hyperparameter(
                    0.2, 0, 1e6, "mixing weights are Beta(alpha, alpha)", open_low=True, random=_loguniform(-1, 1)
                )
            },
            min_domains=2,
        ),
        "MixStyle": AlgorithmSpec(
            "gga_sweep.algorithms.mixstyle:MixStyle",
            numerics=1,
            own={
                "mixstyle_p": _Share(0.5, doc="chance that a step mixes styles after a stage"),
                "mixstyle_alpha": Hyperparameter(0.1, 0, 1e6, "mixing weights are Beta(alpha, alpha)", open_low=True),
            },
        ),
        "GroupDRO": AlgorithmSpec(
            "gga_sweep.algorithms.group_dro:GroupDRO",
            numerics=2,
            own={
                "groupdro_eta": _Weight(1e-2, doc="step size of the domains' weights", random=_loguniform(-3, -1)),
                "groupdro_mean": Hyperparameter(
                    False, 0, 1, "whether the loss is the mean over domains, as in DomainBed at 7df6f06, not the sum"
                ),
            },
        ),
        "MMD": AlgorithmSpec(
            "gga_sweep.algorithms.mmd:MMD",
            numerics=2,
            own={"mmd_gamma": _Weight(1.0, doc="weight of the penalty", random=_loguniform(-1, 1))},
            min_domains=2,
        ),
        "CORAL": AlgorithmSpec(
            "gga_sweep.algorithms.coral:CORAL",
            numerics=2,
            own={
                "mmd_gamma": _Weight(1.0, doc="weight of the penalty", random=_loguniform(-1, 1)),
                **_paper_form("covariances alone, their squared difference over 4 d^2"),
            },
            min_domains=2,
            min_batch=2,
        ),
        "ANDMask": AlgorithmSpec(
            "gga_sweep.algorithms.and_mask:ANDMask",
            numerics=1,
            own={
                "andmask_tau": _Share(
                    1.0,
                    doc="agreement of signs, |mean sign|, that keeps an entry",
                    random=Distribution(uniform=(0.5, 1)),
                )
            },
            min_domains=2,
        ),
        "ARM": AlgorithmSpec(
            "gga_sweep.algorithms.arm:ARM",
            numerics=1,
            own=_paper_form("the context network is trained"),
            splits_by_layer=False,
            transductive=True,
        ),
        "IRM": AlgorithmSpec(
            "gga_sweep.algorithms.irm:IRM",
            numerics=1,
            own={
                "irm_lambda": _Weight(100.0, doc="weight of the penalty", random=_PENALTY_WEIGHT),
                "irm_penalty_anneal_iters": _anneal_steps("steps for which the weight is 1"),
            },
            min_batch=2,
        ),
        "MTL": AlgorithmSpec(
            "gga_sweep.algorithms.mtl:MTL",
            numerics=2,
            own={
                "mtl_ema": _Share(
                    0.99,
                    doc="weight of the new mean in a domain's moving average",
                    random=Distribution(choice=(0.5, 0.9, 0.99, 1.0)),
                ),
                **_paper_form("the embedding is the domain's mean feature; DomainBed overwrites it with noise"),
            },
            splits_by_layer=False,
            transductive=True,
        ),
        "VREx": AlgorithmSpec(
            "gga_sweep.algorithms.vrex:VREx",
            numerics=1,
            own={
                "vrex_lambda": _Weight(10.0, doc="weight of the penalty", random=_PENALTY_WEIGHT),
                "vrex_penalty_anneal_iters": _anneal_steps("steps for which the weight is 1"),
            },
            min_domains=2,
        ),
        "MLDG": AlgorithmSpec(
            "gga_sweep.algorithms.mldg:MLDG",
            numerics=2,
            own={
                "mldg_beta": _Weight(1.0, doc="weight of the meta-test loss", random=_loguniform(-1, 1)),
                "mldg_n_meta_test": Hyperparameter(
                    2,
                    0,
                    1000,
                    "training domains of the meta-test split; 0: a ring of all, as in DomainBed at 7df6f06",
                    random=Distribution(choice=(1, 2)),
                    below_domains=True,
                ),
            },
            min_domains=2,
        ),
        "SagNet": AlgorithmSpec(
            "gga_sweep.algorithms.sagnet:SagNet",
            numerics=2,
            own={"sag_w_adv": _Weight(0.1, doc="weight of the adversary", random=_loguniform(-2, 1))},
            has_joint_gradient=False,
            passes=7 / 3,  # three forwards, two backwards, each of which costs two forwards
        ),
        "RSC": AlgorithmSpec(
            "gga_sweep.algorithms.rsc:RSC",
            numerics=1,
            own={
                "rsc_f_drop_factor": _Share(
                    1 / 3, doc="share of an image's features that is muted", random=Distribution(uniform=(0, 0.5))
                ),
                "rsc_b_drop_factor": _Share(
                    1 / 3, doc="share of a batch's images that is muted", random=Distribution(uniform=(0, 0.5))
                ),
            },
        ),
        "Fish": AlgorithmSpec(
            "gga_sweep.algorithms.fish:Fish",
            numerics=1,
            own={
                "fish_meta_lr": _Share(
                    0.5,
                    doc="share of the way from theta to the inner weights",
                    random=Distribution(choice=(0.05, 0.1, 0.5)),
                )
            },
            has_joint_gradient=False,
        ),
        "SAM": AlgorithmSpec("gga_sweep.algorithms.sam:SAM", numerics=1, own={"sam_rho": _SAM_RADIUS}, passes=2.0),
        "GSAM": AlgorithmSpec(
            "gga_sweep.algorithms.gsam:GSAM",
            numerics=1,
            own={
                "sam_rho": _SAM_RADIUS,
                "gsam_alpha": _Weight(
                    0.001, doc="weight of the gradient's part orthogonal to the ascent point's", random=_SHARPNESS_ALPHA
                ),
            },
            passes=2.0,
        ),
        "SAGM": AlgorithmSpec(
            "gga_sweep.algorithms.sagm:SAGM",
            numerics=1,
            own={
                "sam_rho": _SAM_RADIUS,
                "sagm_alpha": _Weight(
                    0.001, doc="length, in gradients, by which the ascent is drawn back", random=_SHARPNESS_ALPHA
                ),
            },
            passes=2.0,
        ),
        "PCGrad": AlgorithmSpec("gga_sweep.algorithms.pcgrad:PCGrad", numerics=1, min_domains=2),
        "AgrSum": AlgorithmSpec("gga_sweep.algorithms.agr_sum:AgrSum", numerics=1, min_domains=2),
        "Fishr": AlgorithmSpec(
            "gga_sweep.algorithms.fishr:Fishr",
            numerics=1,
            own={
                "fishr_lambda": _Weight(1000.0, doc="weight of the penalty", random=_loguniform(1, 4)),
                "fishr_penalty_anneal_iters": _Steps(
                    1500, doc="steps without the penalty", random=Distribution(integers=(0, 4999))
                ),
                "fishr_ema": Hyperparameter(
                    0.95,
                    0,
                    1,
                    "weight of the past in the variances' moving average",
                    open_high=True,
                    random=Distribution(uniform=(0.9, 0.99)),
                ),
            },
            min_domains=2,
        ),
        "SD": AlgorithmSpec(
            "gga_sweep.algorithms.sd:SD",
            numerics=1,
            own={"sd_reg": _Weight(0.1, doc="weight of the penalty", random=_loguniform(-5, -1))},
        ),
        "EQRM": AlgorithmSpec(
            "gga_sweep.algorithms.eqrm:EQRM",
            numerics=1,
            own={
                "eqrm_quantile": Hyperparameter(
                    0.75,
                    0,
                    1,
                    "quantile of the domains' losses that is descended",
                    open_low=True,
                    open_high=True,
                    random=Distribution(uniform=(0.5, 0.99)),
                ),
                "eqrm_burnin_iters": _Steps(
                    2500, doc="steps of ERM before", random=Distribution(logintegers=(10**2.5, 10**3.5))
                ),
                "eqrm_lr": Hyperparameter(
                    1e-6, 0, 100, "learning rate after the burn-in", open_low=True, random=_loguniform(-7, -5)
                ),
                **_paper_form("the gradient is that of the quantile, not of the ends of its bracket"),
            },
            min_domains=2,
        ),
        "ERMPlusPlus": AlgorithmSpec(
            "gga_sweep.algorithms.erm_plus_plus:ERMPlusPlus",
            numerics=1,
            own={
                "ermpp_linear_steps": Hyperparameter(
                    500, -1, _MANY, "last step, counted from 0, that trains the classifier alone; -1: none"
                ),
                "ermpp_linear_lr": Hyperparameter(
                    5e-5, 0, 100, "learning rate of these steps", open_low=True, random=_loguniform(-5, -3.5)
                ),
                "ermpp_average_from": Hyperparameter(
                    600, 1, _MANY, "number of updates from which on the predicting weights are a mean"
                ),
            },
        ),
        "MIRO": AlgorithmSpec(
            "gga_sweep.algorithms.miro:MIRO",
            numerics=1,
            own={
                "miro_lambda": _Weight(0.1, doc="weight of the penalty"),
                "miro_lr_mult": _Weight(10.0, doc="learning rate of the variances, in units of lr"),
            },
            passes=4 / 3,  # two forwards, one backward, which costs two forwards
        ),
        "GENIE": AlgorithmSpec(
            "gga_sweep.algorithms.genie:GENIE",
            numerics=1,
            own={
                "genie_rate": _Weight(0.015, doc="length of a step, in place of lr", random=_loguniform(-3, -1)),
                "genie_average": Hyperparameter(
                    0.95,
                    0,
                    1,
                    "weight of the past in the moving averages of the gradient and its square",
                    open_high=True,
                    random=Distribution(uniform=(0.9, 0.999)),
                ),
                "genie_drop": Hyperparameter(
                    0.4,
                    0,
                    1,
                    "share of the entries that do not move at a step",
                    open_high=True,
                    random=Distribution(uniform=(0.1, 0.8)),
                ),
            },
        ),
        "SAGE": AlgorithmSpec(
            "gga_sweep.algorithms.sage:SAGE",
            numerics=1,
            own={
                "sage_rho": _Weight(0.01, doc="radius of the spectral ascent before the descent"),
                "sage_gamma": _Weight(1e-3, doc="scale of the noise on the gradient"),
                "sage_relative": Hyperparameter(False, 0, 1, "whether the radius of a matrix is in units of its norm"),
            },
            min_domains=2,
            passes=2.0,
            polar_factors=True,
        ),
    }
)
"""By name, ERM first, then those of the paper's table, then others."""
