//! Cases with a name: each was wrong once, here or in another log shipper.

use super::*;
use crate::disk::Disk as _;

fn write(bytes: usize) -> Op {
    Op::Write {
        bytes,
        partial: false,
    }
}

const LOOK: Op = Op::Poll { scan: true };

/// Identity by inode number would resume in the middle of a file it has never seen.
#[test]
fn an_inode_number_used_again_at_once_is_another_file() {
    let mut simulation = Simulation::new(false, Replay::None);
    let inode = |simulation: &Simulation| {
        let stat = simulation.disk.stat(&simulation.live());
        stat.unwrap().inode
    };
    simulation.apply(&write(200));
    simulation.apply(&LOOK);
    simulation.drain();
    let before = inode(&simulation);
    simulation.crash(0);
    simulation.apply(&Op::Rotate);
    simulation.writer = None;
    simulation.apply(&Op::RemoveOldest);
    simulation.apply(&write(500));
    assert_eq!(inode(&simulation), before, "the number was not used again");
    simulation.finish();
    assert_eq!(simulation.begun.len(), 2);
}

#[test]
fn a_last_line_without_newline_is_handed_out_when_a_new_run_follows() {
    let partial = Op::Write {
        bytes: 40,
        partial: true,
    };
    Simulation::run(
        false,
        Replay::None,
        &[partial.clone(), Op::Restart, write(9)],
    );
    let first_line_only = [
        partial,
        LOOK,
        Op::Step { count: 5 },
        Op::Crash { lost: 3 },
        Op::Restart,
    ];
    Simulation::run(false, Replay::None, &first_line_only);
}

#[test]
fn what_a_runtime_flushes_after_it_reopened_is_not_lost() {
    let late = Op::WriteLate { bytes: 30 };
    let ops = [
        write(100),
        LOOK,
        Op::Step { count: 9 },
        Op::Rotate,
        Op::Reopen,
        write(10),
        LOOK,
        Op::Step { count: 9 },
        late.clone(),
        Op::Wait { millis: 3000 },
        LOOK,
        Op::Step { count: 9 },
        late,
    ];
    Simulation::run(false, Replay::None, &ops);
}

#[test]
fn a_rotated_file_held_open_survives_its_deletion() {
    let ops = [
        write(100),
        Op::Rotate,
        Op::Reopen,
        write(400_000),
        Op::Rotate,
        Op::Reopen,
        write(10),
        LOOK,
        Op::Step { count: 1 },
        Op::RemoveOldest,
        Op::RemoveOldest,
    ];
    Simulation::run(false, Replay::None, &ops);
}

#[test]
fn a_file_truncated_to_the_very_same_length_is_noticed() {
    let same = |bytes| [write(bytes), LOOK, Op::Step { count: 9 }];
    let mut ops = same(50).to_vec();
    ops.extend([Op::Copy { complete: true }, Op::Truncate, write(50)]);
    Simulation::run(true, Replay::None, &ops);
}

#[test]
fn a_file_truncated_while_its_copy_was_seen_half_made() {
    let ops = [
        write(1),
        LOOK,
        Op::Copy { complete: false },
        Op::Step { count: 2 },
    ];
    Simulation::run(true, Replay::None, &ops);
}

#[test]
fn files_that_pile_up_unseen_keep_their_order() {
    let half = Op::Copy { complete: false };
    let ops = [
        write(1),
        half.clone(),
        Op::Truncate,
        LOOK,
        write(1),
        Op::Step { count: 1 },
        Op::Rotate,
        Op::Reopen,
        Op::Rotate,
        Op::Reopen,
        half.clone(),
        Op::Truncate,
        half,
        write(1),
    ];
    Simulation::run(true, Replay::None, &ops);
}
