"""What tells the containers of two control planes on one machine apart."""

from mini.loopback.state import PlaneState


def test_two_control_planes_give_no_container_the_same_identifier(tmp_path):
    states = [PlaneState(tmp_path, tmp_path) for _ in range(2)]
    first, second = ({state.new_id("ta") for _ in range(1000)} for state in states)
    assert len(first) == len(second) == 1000
    assert not first & second


def test_identifiers_come_in_order_and_are_as_long_as_modals(tmp_path):
    state = PlaneState(tmp_path, tmp_path)
    made = [state.new_id("ta") for _ in range(1000)]
    assert made == sorted(made)
    assert {len(one) for one in made} == {25}
