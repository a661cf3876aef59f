"""Terms in a line: stages with defaults, and the recipes that several tests run."""

from __future__ import annotations

from support import rules as _rules  # noqa: F401 - registers the rules for tests
from tallystick.ledger.terms import Need, Pin, Roster, Short, Stage, Terms
from tallystick.mechanisms.registry import rule_digest
from tallystick.mechanisms.theory.calibration import conversion_table
from tallystick.tensors.spec import ModelSpec, Parameter

WINDOW = 60_000
MEMBERS = ("alpha", "bravo", "charlie", "delta")
MODEL = ModelSpec(bytes(31) + b"\x01", 1000, (Parameter("w", (2, 3), "F32"),))
HALF = Need(1, 2)
DELTA = 10**8  # 1e-4


def stage(name, rule, **fields):
    """Return a stage with windows of `WINDOW` ms; keywords beside its fields are parameters."""
    known = {
        field: fields.pop(field) for field in tuple(fields) if field in Stage.__struct_fields__
    }
    if isinstance(known.get("of"), str):
        known["of"] = (known["of"],)
    for window in ("within", "reveal", "hold"):
        known.setdefault(window, WINDOW)
    return Stage(name=name, rule=rule, parameters=tuple(sorted(fields.items())), **known)


def make_terms(round_, setup=(), close=(), **fields):
    """Return terms over ``round_`` with `MEMBERS` as members; rules for tests are pinned."""
    used = sorted({each.rule for each in (*setup, *round_, *close)})
    pins = tuple(Pin(rule, rule_digest(rule)) for rule in used if "/test-" in rule)
    members = fields.pop("members", MEMBERS)
    rosters = fields.pop("rosters", {})
    given = {
        "version": 1,
        "name": "task",
        "recipe": "test/1",
        "mode": "auditable",
        "owner": members[0],
        "rounds": 2,
        "rosters": tuple(
            Roster(name, tuple(sorted(names)))
            for name, names in sorted({"members": members, **rosters}.items())
        ),
        "setup": tuple(setup),
        "round": tuple(round_),
        "close": tuple(close),
        "model": MODEL,
        "weights": ("equal", 0),
        "approve_within": WINDOW,
        "gap": WINDOW,
        "retention": WINDOW,
        "holders": "members",
        "score": "accuracy",
        "keep": "last",
        "train": (),
        "read_fee": 0,
        "pins": pins,
    }
    return Terms(**{**given, **fields})


def rerun(times):
    """Return "reopen so often, then void"."""
    return Short(times, "void")


ABORT = Short(0, "abort")

FUND = stage("fund", "join/escrow/1", who="owner", short=ABORT, escrow=1_000_000)
TRAINERS = stage("trainers", "select/all/1", source="members")
DECIDE = stage("decide", "decide/all/1", of="screen")


def update_stage(**fields):
    """Return a sealed stage of updates with a bond."""
    given = {"who": "trainers", "sealed": True, "bond": 1000, "need": HALF}
    return stage("update", "submit/update/1", **{**given, **fields})


SCREEN = stage("screen", "screen/test-byte/1", of="update", who="members", short=rerun(1))
AGGREGATE = stage("aggregate", "aggregate/test-hash/1", of="decide", who="members", short=rerun(1))
SETTLE = stage("settle", "settle/accepted/1", of="decide", purse=1000)


def simple(**fields):
    """Return updates, decided and paid: no attested stage."""
    plain = stage("decide", "decide/all/1", of="update")
    bond = fields.pop("update", {})
    return make_terms((TRAINERS, update_stage(**bond), plain, SETTLE), (FUND,), **fields)


def chain_fl(**fields):
    """Return plain learning: select, submit, screen, decide, aggregate, settle."""
    update = update_stage(parent="aggregate@-1", short=rerun(1))
    low = stage("screen", "screen/test-byte/1", of="update", who="members", short=rerun(1), low=40)
    return make_terms((TRAINERS, update, low, DECIDE, AGGREGATE, SETTLE), (FUND,), **fields)


def bflc(**fields):
    """Return plain learning with a committee that scores and does not train."""
    committee = stage("committee", "select/beacon/1", source="members", seats=1)
    trainers = stage("trainers", "select/all/1", source="members - committee")
    score = stage(
        "score", "score/own-data/1", of="screen", who="committee", sealed=True, need=HALF,
        short=rerun(2), bond=500,
    )  # fmt: skip
    decide = stage("decide", "decide/below-base/1", of="score")
    stages = (
        committee, trainers, update_stage(parent="aggregate@-1"), SCREEN, score, decide,
        AGGREGATE, SETTLE,
    )  # fmt: skip
    return make_terms(stages, (FUND,), **fields)


def contest(**fields):
    """Return last round's updates voted on, paid and aggregated; then new ones."""
    draw = stage("draw", "select/lottery/1", source="members", seats=3, into=("trainers", "voters"))
    vote = stage("vote", "score/test-vote/1", of="screen@-1", who="voters", sealed=True, need=HALF)
    rank = stage("rank", "decide/all/1", of="vote")
    aggregate = stage("aggregate", "aggregate/test-hash/1", of="rank", who="members")
    pay = stage("pay", "settle/accepted/1", of="rank", purse=5000)
    update = update_stage(parent="aggregate", need=Need(2))
    holdout = stage("holdout", "submit/commitment/1", who="owner", short=ABORT)
    last = stage("judges", "select/named/1", source="auditors", into=("voters",))
    judged = stage(
        "vote", "score/test-vote/1", of="screen", who="voters", sealed=True, need=Need(0)
    )
    audit = stage("audit", "challenge/test-proof/1", who="auditors")
    return make_terms(
        (draw, vote, rank, aggregate, pay, update, SCREEN),
        (FUND, holdout),
        (last, judged, rank, aggregate, pay, audit),
        rosters={"auditors": fields.get("members", MEMBERS)[:2]},
        **fields,
    )


def trustfed(**fields):
    """Return groups whose updates are scored by the other groups and summed per group."""
    groups = stage("groups", "select/test-groups/1", source="members", into=("trainers",), groups=2)
    update = update_stage(per_group=True)
    score = stage(
        "score", "score/test-vote/1", of="update", who="trainers:other", per_group=True,
        sealed=True, short=rerun(1), need=Need(1),
    )  # fmt: skip
    sums = stage(
        "sum", "aggregate/test-sum/1", of="score", who="trainers", per_group=True, short=rerun(1)
    )
    decide = stage("decide", "decide/screened/1", of="sum", cohort=1)
    return make_terms((groups, update, score, sums, decide, AGGREGATE, SETTLE), (FUND,), **fields)


def deepchain(**fields):
    """Return standing bonds, sealed ciphertexts, shares that cost a forfeit, and a challenge."""
    parties = stage(
        "parties", "join/test-parties/1", who="members", bond=50_000, need=Need(3), short=ABORT
    )
    deal = stage("deal", "submit/commitment/1", who="dealer", short=ABORT)
    complain = stage("complain", "challenge/test-proof/1", of="deal", who="parties", fine=7)
    encrypt = stage(
        "encrypt", "submit/update/1", who="parties", sealed=True, need=Need(3), forfeit=10_000,
        short=rerun(2),
    )  # fmt: skip
    check = stage("check", "screen/test-byte/1", of="encrypt", who="workers")
    decide = stage("decide", "decide/screened/1", of="check", cohort=3)
    total = stage("sum", "aggregate/test-sum/1", of="decide", who="workers")
    shares = stage(
        "shares", "submit/test-share/1", of="sum", who="parties", need=Need(3), forfeit=10_000,
        short=rerun(2),
    )  # fmt: skip
    opened = stage("model", "aggregate/test-hash/1", of=("sum", "shares"), who="workers")
    settle = stage("settle", "settle/accepted/1", of="shares", purse=900)
    members = fields.get("members", MEMBERS)
    return make_terms(
        (encrypt, check, decide, total, shares, opened, settle),
        (FUND, parties, deal, complain),
        rosters={"dealer": members[1:2], "workers": members},
        **fields,
    )


def private(**fields):
    """Return plain learning whose updates cost privacy, charged to data sets named in setup."""
    data = stage("data", "join/dataset/1", who="members", need=HALF, short=ABORT)
    trainers = stage("trainers", "select/all/1", source="data")
    protected = {
        "clipping_norm_micros": 500_000,
        "noise_multiplier_millis": 4_000,
        "delta_picos": DELTA,
        "table": conversion_table(DELTA),
        **fields.pop("update", {}),
    }
    update = stage(
        "update", "submit/private-update/1", who="trainers", parent="aggregate@-1", sealed=True,
        bond=1000, need=HALF, short=rerun(1), refs=(("data", "data"),), **protected,
    )  # fmt: skip
    return make_terms((trainers, update, SCREEN, DECIDE, AGGREGATE, SETTLE), (FUND, data), **fields)


RECIPES = {
    "chain-fl": chain_fl,
    "bflc": bflc,
    "contest": contest,
    "trustfed": trustfed,
    "deepchain": deepchain,
    "private": private,
}
