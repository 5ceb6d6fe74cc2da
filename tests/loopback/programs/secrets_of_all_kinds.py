"""Secrets: named, from a dict, from this environment; one that is not there."""

import os

import modal

app = modal.App("vault")
os.environ.setdefault("VAULT_COMBINATION", "1-2-3")
modal.Secret.objects.create("vault-key", {"KEY": "brass"}, allow_existing=True)
named = modal.Secret.from_name("vault-key", required_keys=["KEY"])


@app.function(
    secrets=[
        named,
        modal.Secret.from_dict({"DOOR": "steel"}),
        modal.Secret.from_local_environ(["VAULT_COMBINATION"]),
    ]
)
def look():
    return [os.environ[name] for name in ("KEY", "DOOR", "VAULT_COMBINATION")]


@app.local_entrypoint()
def main():
    assert look.remote() == ["brass", "steel", "1-2-3"]
    assert "vault-key" in [one.name for one in modal.Secret.objects.list()]
    for missing in (modal.Secret.from_name("no-key"), modal.Secret.from_name("vault-key", required_keys=["LOCK"])):
        try:
            missing.hydrate()
        except modal.exception.NotFoundError:
            continue
        raise AssertionError
    print("WORKED")


if __name__ == "__main__":
    with app.run():
        main()
