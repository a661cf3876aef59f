"""What tests of a consortium share: members as processes, witnesses of blocks, who pays whom."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import httpx

from tallystick.consensus.client import Signer
from tallystick.consensus.wire import API, blocks_in
from tallystick.errors import DecodeError, UnavailableError
from tallystick.federation.key_file import load_keyring
from tallystick.lab.pilot import COMMAND
from tallystick.ledger.block import header_hash
from tallystick.ledger.collect.notes import Shut
from tallystick.ledger.collect.rows import NAMES as TASKS_BY_NAME
from tallystick.ledger.collect.rows import TASKS
from tallystick.ledger.contracts import accounts
from tallystick.ledger.genesis import genesis_hash
from tallystick.ledger.messages import Collect, Transfer
from tallystick.ledger.transaction import Body, parse_transaction, sign_transaction
from tallystick.mechanisms.records import Artefact, Seal
from tallystick.provenance.leaf import parse_leaf

TESTS = Path(__file__).parents[1]
SITE = "support.pilot_site:Site"
NAMES = ("east", "north", "south", "west")
OWNER = 0  # the index of a founder's key
FINAL_SECONDS = 120.0  # until a transfer that was acknowledged counts as lost
GONE = (httpx.HTTPError, DecodeError)


def environment():
    """Return an environment whose programs find what tests share."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), *sys.path])}


def until(done, seconds=60.0, what="it"):
    """Wait until something holds."""
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, f"{what} did not come about in {seconds:g} seconds"
        time.sleep(0.1)


def status_of(consortium, name):
    """Return a node's status, nothing while it does not answer."""
    with suppress(UnavailableError, KeyError):
        return consortium.status(name)
    return {}


def heights(consortium, names=None):
    """Return how far each node is; 0 where it does not answer."""
    listed = consortium.names if names is None else names
    return {name: status_of(consortium, name).get("height", 0) for name in listed}


def row_of(consortium, task, name=NAMES[0]):
    """Return where a task stands on a node's ledger."""
    engine = consortium.engine(name)
    row = engine.state.get(TASKS, engine.state.get(TASKS_BY_NAME, task))
    engine.close()
    return row


class Members:
    """Members' processes in a task, each at its own node; one that is lost starts again."""

    def __init__(self, consortium, task, names=NAMES, urls=None, programs=None, **arguments):
        self.consortium, self.task, self.names = consortium, task, names
        self.urls, self.programs = urls or {}, programs or {}
        given = [f"{key}={value}" for key, value in arguments.items()]
        self.settings = [part for text in given for part in ("--set", text)]
        self.running, self.done, self.kills = {}, set(), Counter()

    def __enter__(self):
        for name in self.names:
            self.start(name)
        return self

    def __exit__(self, *_):
        for process in self.running.values():
            if process.poll() is None:
                process.kill()
            process.wait()

    def log(self, name):
        return self.consortium.folder / f"{self.task}-{name}.log"

    def start(self, name):
        arguments = ("--trainer", SITE, "--set", f"name={name}", *self.settings, "--verbose")
        command = self.consortium.join_command(name, self.task, *arguments)
        url, *rest = command[command.index("join") + 1 :]
        program = self.programs.get(name, COMMAND)
        command = (*program, "join", *self.urls.get(name, [url]), *rest)
        with self.log(name).open("ab") as log:
            self.running[name] = subprocess.Popen(
                command, stdout=log, stderr=log, env=environment()
            )

    def keep(self):
        """Start again who ended before the task did; note who has finished."""
        for name in self.names:
            process = self.running[name]
            if name in self.done or process.poll() is None:
                continue
            if process.returncode == 0:
                self.done.add(name)
            else:
                self.start(name)

    @property
    def all_done(self):
        self.keep()
        return len(self.done) == len(self.names)

    def kill(self, name):
        """Kill a member; return whether it ran."""
        process = self.running[name]
        if process.poll() is not None:
            return False
        process.kill()
        process.wait()
        self.kills[name] += 1
        return True

    def signal(self, name, number):
        """Send a signal to a member that runs."""
        if self.running[name].poll() is None:
            os.kill(self.running[name].pid, number)


class Witnesses:
    """Follow every node's blocks over HTTP; what they were shown must stay."""

    def __init__(self, consortium):
        self.consortium = consortium
        self.shown = {name: {} for name in consortium.names}  # height: header's hash, by node
        self.transactions = {}  # hash of the block, by transaction
        self._over = threading.Event()
        self._threads = [
            threading.Thread(target=self._follow, args=(name,)) for name in consortium.names
        ]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        for thread in self._threads:
            thread.join()

    @property
    def chain(self):
        """What was shown at each height: one hash, or there was a fork."""
        found = {}
        for seen in self.shown.values():
            for height, block in seen.items():
                found.setdefault(height, set()).add(block)
        return found

    def _follow(self, name):
        seen, limits = self.shown[name], self.consortium.genesis.limits
        with httpx.Client(timeout=15, trust_env=False) as client:
            while not self._over.is_set():
                target = f"{API}/blocks?from={len(seen) + 1}&wait=1"
                try:
                    answer = client.get(self.consortium.url(name) + target).raise_for_status()
                    for block in blocks_in(answer.content):
                        assert block.evidence
                        seen[block.header.height] = header_hash(block.header)
                        for wire in block.transactions:
                            tx = parse_transaction(wire, limits)
                            self.transactions[tx.hash] = header_hash(block.header)
                except GONE:
                    self._over.wait(0.2)


class Payer:
    """An owner that pays another one micro-unit after the other, by whichever node answers."""

    def __init__(self, consortium, name, payee, dice=None, pause=0.5):
        self.consortium, self.name, self.payee = consortium, name, payee
        self.pause, self._dice = pause, dice
        self.acknowledged, self.receipts = set(), {}
        self.waited = []  # seconds until each was final
        self.busy = 0  # how often it was told to come again
        self._chain = genesis_hash(consortium.genesis)
        self._secret = load_keyring(consortium.home(name)).owner[0]
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._go_on)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        self._thread.join()

    @property
    def _url(self):
        name = self.name if self._dice is None else self._dice.choice(self.consortium.names)
        return self.consortium.url(name)

    def sign(self, nonce, message=None):
        now = time.time_ns() // 1_000_000
        until_ = now + self.consortium.genesis.limits.validity // 2
        body = Body(self.name, OWNER, nonce, until_, message or Transfer(self.payee, 1))
        return sign_transaction(body, self._secret, self._chain)

    def send(self, client, tx, url):
        """Hand a transaction to a node; return its answer."""
        target = f"{API}/transactions"
        signer = Signer(self._chain, self.name, OWNER, self._secret)
        headers = signer.sign("POST", target, tx.wire, time.time_ns() // 1_000_000)
        return client.post(url + target, content=tx.wire, headers=headers)

    def _go_on(self):
        nonce = time.time_ns() // 1_000_000
        with httpx.Client(timeout=5, trust_env=False) as client:
            while not self._over.is_set():
                nonce += 1
                self._pay(client, self.sign(nonce))
                self._over.wait(self.pause)

    def _pay(self, client, tx):
        """See a transfer through: none with a higher nonce before this one is final."""
        started = time.monotonic()
        while tx.hash not in self.receipts and time.monotonic() - started < FINAL_SECONDS:
            try:
                answer = self.send(client, tx, self._url)
                if answer.is_success:
                    self.acknowledged.add(tx.hash)
                self.busy += answer.status_code in {429, 503}
                for _ in range(10):
                    found = client.get(f"{self._url}{API}/receipts/{tx.hash.hex()}")
                    if found.is_success:
                        self.receipts[tx.hash] = found.json()
                        self.waited.append(time.monotonic() - started)
                        return
                    time.sleep(0.2)
            except GONE:
                time.sleep(0.2)
            if self._over.is_set() and tx.hash not in self.acknowledged:
                return


def records_of(blocks, limits):
    """Return how often each member sealed and revealed in each stage of each round."""
    sealed, revealed = Counter(), Counter()
    for block in blocks:
        for wire in block.transactions:
            body = parse_transaction(wire, limits).body
            if not isinstance(body.message, Collect):
                continue
            for entry in body.message.entries:
                key = (body.sender, entry.phase, entry.round, entry.stage)
                if isinstance(entry.record, Seal):
                    sealed[key] += 1
                elif isinstance(entry.record, Artefact):
                    revealed[key] += 1
    return sealed, revealed


def timed_notes(consortium, task, kind, name=NAMES[0]):
    """Return what a task's log says of one kind, each with its block's time in milliseconds."""
    engine = consortium.engine(name)
    leaves = list(engine.leaves(row_of(consortium, task, name).id))
    times = {block.header.height: block.header.time for block in engine.blocks(1)}
    engine.close()
    return [
        (times[height], leaf)
        for height, data in leaves
        if isinstance(leaf := parse_leaf(data), kind)
    ]


def notes_of(consortium, task, kind=Shut, name=NAMES[0]):
    """Return what a task's log on a node's ledger says of one kind."""
    return [note for _, note in timed_notes(consortium, task, kind, name)]


def ledgers(consortium, names=None):
    """Return the blocks of every node up to the height all have, and the state root there."""
    found, most = {}, None
    for name in consortium.names if names is None else names:
        engine = consortium.engine(name)
        found[name] = list(engine.blocks(1))
        engine.close()
        most = len(found[name]) if most is None else min(most, len(found[name]))
    return {name: blocks[:most] for name, blocks in found.items()}


def balances_of(state, names=NAMES):
    """Return everybody's free money."""
    return {name: accounts.balance(state, name) for name in names}


def stop(consortium, *names):
    """Stop all processes of organisations, as a machine that hangs would."""
    for name in names:
        for pid in consortium.pids(name).values():
            os.kill(pid, signal.SIGSTOP)


def go_on(consortium, *names):
    """Let stopped organisations go on."""
    for name in names:
        for pid in consortium.pids(name).values():
            os.kill(pid, signal.SIGCONT)


def odd(trick):
    """Return the program of a node whose application does what it should not."""
    return (sys.executable, "-m", "support.odd_node", trick)
