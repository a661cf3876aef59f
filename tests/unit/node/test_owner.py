"""Whose node a folder is."""

import pytest
from support.nodes import make_home

from tallystick.errors import ConfigError
from tallystick.node.home import OWNER, open_folder


def test_a_folder_stays_its_members_whoevers_keys_are_put_into_it(tmp_path):
    make_home(tmp_path)
    folder = tmp_path / "node"
    name = open_folder(folder).keyring.name
    (folder / OWNER).write_text("somebody-else\n")

    with pytest.raises(ConfigError, match=f"the node of 'somebody-else'.*of '{name}'"):
        open_folder(folder)
