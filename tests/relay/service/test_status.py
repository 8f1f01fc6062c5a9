"""The status socket answers whole, outlives rude visitors, and is taken over from a dead relay alone."""

import os
import select
import socket
import threading

import pytest

from shoestring.relay.service import files, status


@pytest.fixture
def desk(tmp_path):
    """A desk that is attended by a thread."""
    poll = select.epoll()
    path = str(tmp_path / "socket")
    desk = status.Desk(path, poll, {b"status": lambda: b'{"pairs": []}', b"frames": lambda: bytes(3_000_000)})
    poll.register(desk.fileno(), select.EPOLLIN)
    stop = threading.Event()

    def attend():
        while not stop.is_set():
            for number, _ in poll.poll(0.02):
                if number == desk.fileno():
                    desk.welcome()
                elif desk.serves(number):
                    desk.attend(number)

    thread = threading.Thread(target=attend)
    thread.start()
    yield path
    stop.set()
    thread.join()
    desk.close()
    assert not os.path.exists(path)


def test_questions_are_answered_whole(desk):
    assert status.describe(status.ask(desk, "status")) == {"pairs": []}
    assert len(status.ask(desk, "frames")) == 3_000_000
    assert os.stat(desk).st_mode & 0o777 == 0o600


def test_silent_and_rude_visitors_do_no_harm(desk):
    silent = [socket.socket(socket.AF_UNIX) for _ in range(20)]
    for visitor in silent:
        visitor.connect(desk)
    assert status.ask(desk, "nonsense") == b""
    hasty = socket.socket(socket.AF_UNIX)
    hasty.connect(desk)
    hasty.send(b"frames\n")
    hasty.close()
    assert status.ask(desk, "status") == b'{"pairs": []}'
    for visitor in silent:
        visitor.close()


def test_a_second_relay_on_the_same_socket_is_refused(desk):
    with pytest.raises(status.StatusError, match="another relay is running"):
        status.Desk(desk, select.epoll(), {})


def test_a_dead_relays_socket_is_taken_over(tmp_path):
    path = str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(path)
    status.Desk(path, select.epoll(), {}).close()


def test_nothing_but_a_dead_socket_is_removed(tmp_path):
    file, folder, to = tmp_path / "settings", tmp_path / "folder", tmp_path / "to"
    file.write_text("precious")
    folder.mkdir()
    to.symlink_to(file)
    for path in (file, folder, to):
        with pytest.raises(status.StatusError, match="no socket"):
            status.Desk(str(path), select.epoll(), {})
    assert file.read_text() == "precious"


def test_a_relay_that_is_slow_keeps_its_socket(tmp_path):
    path = str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX) as slow:
        slow.bind(path)
        slow.listen(0)  # and never accepts
        callers = [socket.socket(socket.AF_UNIX) for _ in range(4)]
        for caller in callers:
            caller.setblocking(False)
            caller.connect_ex(path)
        with pytest.raises(status.StatusError, match="another relay is running"):
            status.Desk(path, select.epoll(), {})
        for caller in callers:
            caller.close()
    assert os.path.exists(path)


def test_a_relay_that_was_followed_leaves_the_new_ones_socket(tmp_path):
    path = str(tmp_path / "socket")
    first = status.Desk(path, select.epoll(), {})
    os.unlink(path)
    second = status.Desk(path, select.epoll(), {})
    first.close()
    assert os.path.exists(path)
    second.close()


def test_a_full_disk_leaves_the_old_file_and_no_rubbish(tmp_path, monkeypatch):
    path = tmp_path / "last.pcap"
    path.write_bytes(b"old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        files.write_private(str(path), b"new")
    assert [file.name for file in tmp_path.iterdir()] == ["last.pcap"]
    assert path.read_bytes() == b"old"
