"""A few trainings killed with signal 9 (kill_trainer.py does it for hundreds)."""
import kill_trainer


def test_trainings_killed_anywhere_end_with_the_same_bits(tmp_path):
    complaints, tally = kill_trainer.run(tmp_path, kills=12, seed=1, jobs=2)
    assert not complaints, "\n".join(complaints)
    assert sum(tally.values()) >= 12
