"""What published vectors for light clients say, and what our verification makes of them.

Three formats: model-based single steps (a verdict for each block), older single steps (one outcome
for all), and bisection with or without witnesses.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from tallystick.consensus.cometbft.light import (
    NotEnoughTrustError,
    Policy,
    Trusted,
    compare,
    trust,
    verify,
    verify_to,
)
from tallystick.consensus.cometbft.rpc_json import (
    parse_light_block,
    parse_signed_header,
    parse_time,
    parse_validators,
)
from tallystick.crypto.votes import NANOS
from tallystick.errors import DecodeError, TallyError, VerificationError

__all__ = ["Result", "run"]

SUCCESS, INVALID, NOT_ENOUGH_TRUST = "SUCCESS", "INVALID", "NOT_ENOUGH_TRUST"
PARSE_ERROR = "PARSE_ERROR"


@dataclass(frozen=True)
class Result:
    """Verdicts said and found, one for each block or one for the whole vector."""

    expected: list[str]
    found: list[str]
    steps: int = 0  # taken by a bisection


def run(vector):
    """Return the result of a vector of any of the formats."""
    if "trust_options" in vector:
        return run_bisection(vector)
    if any("verdict" in each for each in vector["input"]):
        return run_model_based(vector)
    return run_single_steps(vector)


def run_model_based(vector):
    policy = Policy(int(vector["initial"]["trusting_period"]), drift_nanos=0)
    trusted = initial(vector)
    found = []
    for each in vector["input"]:
        verdict, trusted = step(trusted, each["block"], policy, parse_time(each["now"]))
        found.append(verdict)
    return Result([each["verdict"] for each in vector["input"]], found)


def run_single_steps(vector):
    policy = Policy(int(vector["initial"]["trusting_period"]), drift_nanos=NANOS)
    trusted, now = initial(vector), parse_time(vector["initial"]["now"])
    verdict = SUCCESS
    for each in vector["input"]:
        verdict, trusted = step(trusted, each, policy, now)
        if verdict != SUCCESS:
            break
    return Result([expected_output(vector)], [outcome(verdict == SUCCESS)])


def run_bisection(vector):
    options = vector["trust_options"]
    level = Fraction(*(int(options["trust_level"][part]) for part in ("numerator", "denominator")))
    policy = Policy(int(options["period"]), level=level)
    now, target = parse_time(vector["now"]), int(vector["height_to_verify"])
    steps = ()
    try:
        lights = provided(vector["primary"])
        trusted = trust(lights[int(options["height"])], bytes.fromhex(options["hash"]))
        steps = verify_to(trusted, target, lights.__getitem__, policy, now)
        for witness in vector["witnesses"]:
            compare(lights[target], provided(witness["value"])[target])
    except TallyError:
        return Result([expected_output(vector)], ["error"])
    return Result([expected_output(vector)], ["no error"], len(steps))


def initial(vector):
    header, _commit = parse_signed_header(vector["initial"]["signed_header"])
    return Trusted(header, parse_validators(vector["initial"]["next_validator_set"]))


def step(trusted, block, policy, now):
    """Return a verdict and what is trusted after it: the block, with the validators it names."""
    try:
        light = parse_light_block(block["signed_header"], block["validator_set"])
        following = parse_validators(block["next_validator_set"])
        verify(trusted, light, policy, now, following)
    except NotEnoughTrustError:
        return NOT_ENOUGH_TRUST, trusted
    except VerificationError:
        return INVALID, trusted
    except DecodeError:
        return PARSE_ERROR, trusted
    return SUCCESS, Trusted(light.header, following)


def provided(provider):
    lights = [
        parse_light_block(each["signed_header"], each["validator_set"])
        for each in provider["lite_blocks"]
    ]
    return {light.height: light for light in lights}


def expected_output(vector):
    return outcome(vector.get("expected_output") != "error")


def outcome(success):
    return "no error" if success else "error"
