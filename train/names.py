"""The recipes' names for --help, with a one-line description and the published top-1 error, and the
keys of --set.

It is separate from train/recipes.py, which defines the recipes, so that --help need not import
torch. tests/test_flags.py compares the two. The errors are for ImageNet or CIFAR-100.
"""

from shared.commandline import did_you_mean
from shared.errors import InputError

DEFAULT_RECIPE = "s_resnet18.t_resnet34.cd.kdv2.lrdv2"

RECIPES = {
    "resnet18.ce": "CE: plain training (30.43)",
    "s_resnet18.t_resnet34.kd.ce": "CE + KD (29.50)",
    "s_resnet18.t_resnet34.cd.ce": "CE + 6 CD (28.38)",
    "s_resnet18.t_resnet34.cd.ce.lrdv1": "CE + 6 CD, its weight decaying (28.34)",
    "s_resnet18.t_resnet34.cd.ce.lrdv2": "CD first, CE from epoch 30: EDT (28.00)",
    "s_resnet18.t_resnet34.cd.ce.kdv2": "CE + guided KD + 6 CD, decaying (28.26)",
    "s_resnet18.t_resnet34.cd.kd.lrdv2": "CD first, CE + KD from epoch 30 (27.99)",
    DEFAULT_RECIPE: "CD first, CE + guided KD from epoch 30 (27.68); the default",
    "s_resnet18.t_resnet34.rcd.ce": "CE + 5 RCD, CD for heavy tails: not the paper's",
    "s_resnet18.t_resnet34.rcd.kdv2.lrdv2": "RCD first, CE + guided KD from epoch 30",
    "resnet18.at": "CE + 1000 attention transfer of stages 3 and 4 (29.10)",
    "resnet18.at.all": "CE + 2000 attention transfer of all four stages (29.30)",
    "resnet18.fitnets": "CE + 100 FitNets, a hint on stage 2 (29.34)",
    "resnet18.rkd_at": "residual KD + attention transfer, our reading (28.46)",
    **{
        f"s_resnet18.t_resnet34.{loss}": meaning
        for loss, meaning in {
            "kd.t4": "0.9 CE + KD at T = 4 (28.79)",
            "kd.ls": "CE + 9 KD of standardised logits, T = 2 (28.58)",
            "dkd": "CE + DKD, decoupled KD (28.30)",
            "nkd": "CE + NKD, normalised KD (28.04)",
            "dist": "CE + 2 DIST, correlations (27.93)",
            "wttm": "CE + 0.5 WTTM, the teacher's softmax to a power (27.81)",
            "ikl": "CE + IKL, KL with class priors (28.09)",
            "wkd_l": "CE + Wasserstein distance of logits (27.51)",
            "l2": "CE + 15 L2 of embeddings (29.10)",
            "srrl": "CE + SRRL, embeddings through the teacher's last layer (28.27)",
            "srd": "CE + SRD of embeddings + KD (28.13)",
            "crd": "CE + 0.8 CRD, contrast with a memory (28.83)",
            "rkd": "CE + relational KD, distances and angles (28.66)",
            "pkt": "CE + PKT, probabilities of neighbours",
            "kd++": "CE + 2.5 KD + norm and direction of embeddings (28.02)",
            "dkd++": "CE + DKD + norm and direction of embeddings (27.93)",
            "cat": "CE + CAT-KD, class activation maps (28.74)",
            "wkd_f": "CE + Wasserstein distance of maps (27.50)",
            "wkd_lf": "CE + both Wasserstein distances (27.24)",
            "simkd": "SimKD: the teacher's last layer on projected maps (28.34)",
        }.items()
    },
    "cifar.resnet50.ce": "CIFAR-100, plain training (22.02)",
    "cifar.s_resnet50.t_resnet152.kd.ce": "CIFAR-100, CE + 0.1 KD (20.36)",
    "cifar.s_resnet50.t_resnet152.cd.ce": "CIFAR-100, CE + 6 CD (20.08)",
    "cifar.s_resnet50.t_resnet152.cd.ce.kdv2": "CIFAR-100, CE + 0.1 guided KD + 6 CD (19.49)",
    "cifar.s_resnet50.t_resnet152.cd.kdv2.lrdv2": "CIFAR-100, CD first, the rest from epoch 60 "
    "(18.63)",
    "cifar.s_resnet50.t_resnet152.rcd.kdv2.lrdv2": "CIFAR-100, RCD first, the rest from epoch 60",
    "cifar.resnet20.ce": "CIFAR-100, the field's small pair, plain training (30.94)",
    **{
        f"cifar.s_resnet20.t_resnet56.{loss}": meaning
        for loss, meaning in {
            "kd": "0.1 CE + 0.9 KD at T = 4 (29.34)",
            "dkd": "CE + DKD at T = 4 (28.03)",
            "dist": "CE + DIST at T = 4 (28.25)",
            "at": "CE + 1000 attention transfer of all three stages (29.45)",
            "srrl": "CE + SRRL",
            "cd.ce": "CE + 6 CD",
            "cd.ce.kdv2": "CE + 0.1 guided KD + 6 CD",
            "cd.kdv2.lrdv2": "CD first, the rest from epoch 72",
            "rcd.kdv2.lrdv2": "RCD first, the rest from epoch 72",
            "dkd.cd": "CE + DKD + 6 CD",
            "srrl.cd": "CE + SRRL + 6 CD",
        }.items()
    },
    "digits.resnet34.ce": "the teacher of the built-in digits: CE, 8 epochs",
    "digits.cifar_resnet20.ce": "a smaller one, that of make demo: CE, 8 epochs",
}

SET_KEYS = {
    "lr": "the learning rate, before decay and after warm-up",
    "schedule": "constant, cosine, cosine,FLOOR or steps,FACTOR,EPOCH,...",
    "warmup": "epochs of linear warm-up of the learning rate",
    "optimizer": "sgd or adamw, which needs an lr of its own",
    "momentum, nesterov": "of sgd: a number; true or false",
    "betas": "of adamw: two numbers, like 0.9,0.999",
    "weight_decay": "a number",
    "decay_norms": "true, or false: no weight decay for norms and biases",
    "label_smoothing": "of the cross entropy",
    "ema": "decay of averaged weights, or none",
    "epochs, batch_size": "as --epochs and --batch-size",
    "guide": "which samples are guided: correct, or 'loss<0.7' (the teacher's; mind the quotes)",
    "stem, policy, size": "of a ResNet; how views are drawn without a cache, and their pixels",
    "augment": "of views drawn without a cache, as precompute/run.py --augment",
    "TERM.weight": "of a loss, like kd.weight=0.9; 0 drops the loss, with what it needs",
    "TERM.schedule, TERM.warmup": "as for the learning rate, of that weight",
    "TERM.start": "the epoch before which that weight is 0",
    "TERM.NAME": "any hyper-parameter of that loss, like kd.temperature=4; --dry-run lists them",
}


def unknown_recipe(name: str) -> InputError:
    near = did_you_mean(name, RECIPES)
    return InputError(f"there is no recipe {name!r}{near} --help lists all recipes")
