"""The generated messages are those of the file they are generated from."""

import re
from pathlib import Path

import tallystick.consensus.cometbft as package
from tallystick.consensus.cometbft import abci_pb2

MESSAGE = re.compile(r"^message (\w+) \{(.*?)^\}", re.DOTALL | re.MULTILINE)
FIELD = re.compile(r"^ +(repeated )?(\w+) (\w+) = (\d+);", re.MULTILINE)


def test_every_field_has_the_name_and_number_of_the_source():
    source = (Path(package.__file__).parent / "abci.proto").read_text(encoding="utf-8")
    source = re.sub(r"message (\w+) \{\}", "message \\1 {\n}", source)
    written = {
        name: {
            (field, int(number), bool(repeated))
            for repeated, _, field, number in FIELD.findall(body)
        }
        for name, body in MESSAGE.findall(source)
    }
    made = {
        name: {(field.name, field.number, field.is_repeated) for field in message.fields}
        for name, message in abci_pb2.DESCRIPTOR.message_types_by_name.items()
    }

    assert len(written) > 30
    assert made == written
