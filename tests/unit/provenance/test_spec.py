"""A second verifier, written from docs/spec alone: it imports nothing of the program."""

from __future__ import annotations

import hashlib
import struct

import msgspec
import pytest
from blake3 import blake3
from nacl.bindings import crypto_sign_open

CHUNK = 262_144


def enc(value):
    return msgspec.msgpack.encode(value)


def dec(data):
    value = msgspec.msgpack.decode(data)
    assert enc(value) == data  # LED-2
    return value


def h(domain, *parts):  # LED-10
    sized = b"".join(struct.pack("<Q", len(part)) + part for part in parts)
    return hashlib.sha256(b"tallystick/" + domain.encode() + b"\0" + sized).digest()


def sha(data):
    return hashlib.sha256(data).digest()


def tree(hashes, join):
    if len(hashes) == 1:
        return hashes[0]
    half = 1 << ((len(hashes) - 1).bit_length() - 1)
    return join(tree(hashes[:half], join), tree(hashes[half:], join))


def list_root(leaves):  # LED-11
    if not leaves:
        return sha(b"")
    return tree([sha(b"\0" + leaf) for leaf in leaves], lambda a, b: sha(b"\1" + a + b))


def blob_root(data):  # TEN-1 to TEN-3
    def keyed(what, piece):
        return blake3(piece, derive_key_context=f"tallystick 2026 blob {what} v1").digest()

    pieces = [data[at : at + CHUNK] for at in range(0, len(data), CHUNK)] or [b""]
    top = tree([keyed("chunk", piece) for piece in pieces], lambda a, b: keyed("node", a + b))
    return keyed("root", top + struct.pack("<Q", len(data)))


def signed(public, domain, message, signature):  # LED-15
    crypto_sign_open(signature + b"tallystick/" + domain + b"\0" + message, public)


def is_member(root, key, value, siblings):  # LED-13
    path = sha(key)
    bits = int.from_bytes(path, "big")
    node = sha(b"\0" + path + sha(value))
    for depth in reversed(range(len(siblings))):
        pair = (siblings[depth], node) if bits >> (255 - depth) & 1 else (node, siblings[depth])
        node = sha(b"\1" + b"".join(pair))
    return node == root


class Parsed:
    """BUN-1 to BUN-6."""

    def __init__(self, data):
        assert data[:7] == b"TALLY\x01\n"
        at, last = 7, 0
        self.sections = {kind: [] for kind in range(1, 8)}
        while at < len(data):
            kind, length = struct.unpack_from("<BI", data, at)
            assert kind >= last
            last, at = kind, at + 5
            payload = data[at : at + length]
            at += length
            if kind == 6:
                root, size = dec(payload)
                assert blob_root(data[at : at + size]) == root
                payload, at = (root, data[at : at + size]), at + size
            self.sections[kind].append(payload)
        self.genesis_bytes, self.task, height, leaves, _, blobs = dec(self.sections[1][0])
        counts = [len(self.sections[kind]) for kind in (2, 3, 6)]
        assert counts == [height, leaves, blobs]
        self.genesis = dec(self.genesis_bytes)
        self.blocks = [dec(block) for block in self.sections[2]]
        self.leaves = self.sections[3]
        self.row_bytes, (self.siblings, _) = dec(self.sections[4][0])
        self.row = dec(self.row_bytes)
        self.blobs = dict(self.sections[6])
        self.keys = {founder[0]: [key[0] for key in founder[1]] for founder in self.genesis[5]}


@pytest.fixture(scope="module")
def parsed(small):
    return Parsed(small.bundle.read_bytes())


def test_headers_chain_from_genesis_under_the_sealers_key(parsed, small):
    chain = h("genesis", parsed.genesis_bytes)
    parent = None
    for height, (header, transactions, evidence) in enumerate(parsed.blocks, 1):
        assert header[:2] == [chain, height]
        assert parent is None or header[3] == h("header", enc(parent))
        assert header[4] == list_root(transactions)
        index, signature = dec(evidence)
        sealer = parsed.keys[parsed.genesis[3]][index]
        signed(sealer, b"solo-seal/1", h("header", enc(header)), signature)
        for wire in transactions:
            body, signature = dec(wire)
            sender, key = dec(body)[:2]
            signed(parsed.keys[sender][key], b"transaction/1", chain + body, signature)
        parent = header

    assert chain.hex() == small.genesis


def test_the_tasks_row_is_in_the_final_state_and_holds_the_log(parsed):
    key = bytes([0x20]) + enc([parsed.task])
    size, peaks = parsed.row[9]
    terms = dec(dec(dec(parsed.leaves[0])[1])[0])[4][1]

    assert is_member(parsed.blocks[-1][0][6], key, parsed.row_bytes, parsed.siblings)
    assert size == len(parsed.leaves)
    assert len(peaks) == size.bit_count()
    assert parsed.task == h("terms", enc(terms))


def test_every_member_signed_the_final_model_and_log(parsed):
    notes = [dec(leaf) for leaf in parsed.leaves]
    opened = next(at for at, note in enumerate(notes) if note[0] == 2 and note[1][3] == "cosign")
    log = parsed.leaves[: opened + 1]
    model = parsed.row[20]
    statement = h("final", parsed.task, enc(model), enc(len(log)), list_root(log))
    signers = []
    for note in notes[opened:]:
        if note[0] != 1:
            continue
        sender, index, _, _, message = dec(dec(note[1])[0])
        tag, _, entries = message
        assert (tag, entries[0][2], entries[0][3][0]) == (6, "cosign", "t")
        signed(parsed.keys[sender][index], b"cosign/1", statement, entries[0][3][1])
        signers.append(sender)

    assert sorted(signers) == ["east", "north", "west"]


def test_the_seal_and_the_beacon_follow_from_what_was_revealed(parsed):
    notes = [dec(leaf) for leaf in parsed.leaves]
    place = [parsed.task, 1, 1, "update", ""]
    seals, reveals = {}, {}
    for note in notes:
        message = dec(dec(note[1])[0])[4] if note[0] == 1 else [0]
        sender = dec(dec(note[1])[0])[0] if note[0] == 1 else ""
        for entry in message[2] if message[0] == 6 else ():
            if entry[:3] == [1, 1, "update"] and entry[3][0] == "s":
                seals[sender] = entry[3][1]
            elif entry[:3] == [1, 1, "update"] and entry[3][0] == "a":
                reveals[sender] = (entry[3], entry[5])
    for sender, (record, salt) in reveals.items():
        assert seals[sender] == h("seal", enc(place), enc(record), sender.encode(), salt)
    before = next(note for note in notes if note[0] == 4 and note[1][3] == "approve")[2]
    after = next(note for note in notes if note[0] == 4 and note[1] == place)[2]
    salts = sorted((sender, salt) for sender, (_, salt) in reveals.items())

    assert after == h("beacon", before, enc(place), enc(salts))


def test_two_thirds_signed_the_model_and_its_arithmetic_holds(parsed, small):
    notes = [dec(leaf) for leaf in parsed.leaves]
    outputs = {note[3]: note[4] for note in notes if note[0] == 6 and note[1] == 1}
    place = [parsed.task, 1, 1, "aggregate", ""]
    terms = dec(dec(dec(parsed.leaves[0])[1])[0])[4][1]
    first_root, first_size, parameters = terms[10]
    beacon = next(note for note in notes if note[0] == 4 and note[1][1] == 1)[2]

    def output_root(output):
        subjects, effects, void = output
        head = enc([void, len(subjects), len(effects)])
        return list_root([head, *map(enc, subjects), *map(enc, effects)])

    parts = [enc([output_root(outputs["decide"])]), enc([]), enc([first_root, first_size]), beacon]
    inputs = h("inputs", *parts)
    made = output_root(outputs["aggregate"])
    message = h("attested", enc(place), inputs, b"aggregate/mean/1", made)
    attested = next(note for note in notes if note[0] == 5 and note[1] == place)
    signatures = [
        (dec(dec(note[1])[0])[:2], entry[3][1])
        for note in notes
        if note[0] == 1 and (body := dec(dec(note[1])[0]))[4][0] == 6
        for entry in body[4][2]
        if entry[2] == "aggregate"
    ]
    for (sender, index), signature in signatures:
        signed(parsed.keys[sender][index], b"attest/1", message, signature)
    assert attested[2] == inputs
    assert 3 * len(attested[3]) > 2 * attested[4]

    def values(root, kind):
        data = parsed.blobs[root]
        skip = 8 + int.from_bytes(data[:8], "little")
        return data[:skip], [each[0] for each in struct.iter_unpack(kind, data[skip:])]

    rows = [values(subject[0], "<i")[1] for subject in outputs["decide"][0] if not subject[3]]
    prefix, before = values(first_root, "<f")
    divisor = len(rows)
    new = prefix
    for old, column in zip(before, zip(*rows, strict=True), strict=True):
        combined = (sum(column) + divisor // 2) // divisor
        step = struct.unpack("<f", struct.pack("<f", combined))[0] * 2.0 ** parameters[0][3]
        new += struct.pack("<f", old + step)

    assert blob_root(new) == outputs["aggregate"][0][0][0]
    assert new == small.model.read_bytes()
