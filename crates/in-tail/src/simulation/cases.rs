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

/// Between kubelet's rename and the end of the runtime's flush the renamed file still grows.
#[test]
fn a_rotated_file_is_over_only_after_it_has_been_quiet() {
    let mut simulation = Simulation::new(false, Replay::None);
    let look = |simulation: &mut Simulation, ops: &[Op], files: usize| {
        for op in ops.iter().chain([&LOOK]) {
            simulation.apply(op);
        }
        simulation.drain();
        assert_eq!(simulation.begun.len(), files, "{ops:?}");
    };
    let late = Op::WriteLate { bytes: 30 };
    look(&mut simulation, &[write(100)], 1);
    look(&mut simulation, &[Op::Rotate, Op::Reopen, write(10)], 1);
    look(&mut simulation, &[Op::Wait { millis: 200 }, late], 1);
    look(&mut simulation, &[Op::Wait { millis: 200 }], 1);
    look(&mut simulation, &[Op::Wait { millis: 300 }], 2);
    simulation.finish();
}

/// A name and an inode number that were seen before say nothing about the content.
#[test]
fn a_copy_under_the_name_and_inode_number_of_a_file_that_was_read_is_found() {
    let mut simulation = Simulation::new(true, Replay::None);
    let first = Path::new("/plain/app.log.1");
    let stat = |simulation: &Simulation| simulation.disk.stat(first).unwrap();
    for op in [
        write(50),
        LOOK,
        Op::Step { count: 9 },
        Op::Rotate,
        Op::Reopen,
        write(10),
    ] {
        simulation.apply(&op);
    }
    for _ in 0..3 {
        simulation.apply(&Op::Wait { millis: 2000 });
        simulation.apply(&LOOK);
        simulation.drain();
    }
    let before = stat(&simulation);
    simulation.before = None;
    for op in [
        Op::RemoveOldest,
        write(70),
        Op::Copy { complete: true },
        Op::Truncate,
    ] {
        simulation.apply(&op);
    }
    assert!(
        stat(&simulation).same_file(&before),
        "the number was not used again"
    );
    simulation.finish();
}
