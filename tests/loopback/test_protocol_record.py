"""What the installed client of Modal may ask, say and raise, against a record of it.

Modal's protocol is private and grows with every minor version. When this fails, read docs/modal-protocol.md («When a
new version of Modal appears»), and then write the record anew: `python tests/loopback/test_protocol_record.py`.
"""

import inspect
import json
from pathlib import Path

RECORD = Path(__file__).with_name("protocol.json")


def protocol():
    """Calls with the messages they take and give, the fields of all messages, and exceptions."""
    import modal.exception
    from modal_proto import api_pb2

    service = api_pb2.DESCRIPTOR.services_by_name["ModalClient"]
    calls = {
        name: [method.input_type.name, method.output_type.name] for name, method in service.methods_by_name.items()
    }
    messages = {}

    def describe(message):
        if message.full_name not in messages and message.file.name == api_pb2.DESCRIPTOR.name:
            messages[message.full_name] = sorted(field.name for field in message.fields)
            for field in message.fields:
                if field.message_type is not None:
                    describe(field.message_type)

    for method in service.methods_by_name.values():
        describe(method.input_type)
        describe(method.output_type)
    exceptions = sorted(
        name
        for name, value in vars(modal.exception).items()
        if inspect.isclass(value) and issubclass(value, BaseException) and value.__module__ == "modal.exception"
    )
    return {"version": modal.__version__, "calls": calls, "messages": messages, "exceptions": exceptions}


def differences(old, new):
    """Lines that say what is new, what is gone and what changed, from one record to another."""
    lines = []
    for kind, title in (("calls", "call"), ("messages", "message")):
        before, after = old[kind], new[kind]
        lines += [f"new {title} {name}" for name in sorted(after.keys() - before.keys())]
        lines += [f"no more {title} {name}" for name in sorted(before.keys() - after.keys())]
        for name in sorted(before.keys() & after.keys()):
            what = "field" if kind == "messages" else "type"
            lines += [f"new {what} {name}.{one}" for one in after[name] if one not in before[name]]
            lines += [f"no more {what} {name}.{one}" for one in before[name] if one not in after[name]]
    lines += [f"new exception {name}" for name in new["exceptions"] if name not in old["exceptions"]]
    return lines + [f"no more exception {name}" for name in old["exceptions"] if name not in new["exceptions"]]


def test_the_installed_client_is_the_one_that_is_known():
    old, new = json.loads(RECORD.read_text()), protocol()
    found = differences(old, new)
    assert not found, (
        f"modal {new['version']} differs from modal {old['version']}, which the control plane was made for:\n  "
        + "\n  ".join(found)
        + "\nSee «When a new version of Modal appears» in docs/modal-protocol.md."
    )


def test_news_are_named():
    old = {"calls": {"A": ["X", "Y"]}, "messages": {"X": ["a"], "Y": []}, "exceptions": ["E"]}
    new = {"calls": {"A": ["X", "Y"], "B": ["X", "Z"]}, "messages": {"X": ["b"], "Z": []}, "exceptions": ["E", "F"]}
    assert differences(old, new) == [
        "new call B",
        "new message Z",
        "no more message Y",
        "new field X.b",
        "no more field X.a",
        "new exception F",
    ]
    assert not differences(old, old)


def test_each_call_is_answered_or_named():
    """A call that is neither answered nor of a group whose name is told is one that nobody has looked at."""
    from mini.loopback.plane import answered
    from mini.loopback.service import calls, not_offered

    assert [name for name in calls() if name not in answered() and not_offered(name) is None] == []


if __name__ == "__main__":
    lines = [f'"{key}": {json.dumps(value)}' for key, value in protocol().items() if key in ("version", "exceptions")]
    for kind in ("calls", "messages"):
        entries = ",\n".join(f"{json.dumps(name)}: {json.dumps(one)}" for name, one in sorted(protocol()[kind].items()))
        lines.append(f'"{kind}": {{\n{entries}\n}}')
    RECORD.write_text("{\n" + ",\n".join(lines) + "\n}\n")
