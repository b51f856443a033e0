//! Cases with a name: each was wrong once, here or in another log shipper.

use super::*;

fn write(bytes: usize) -> Op {
    Op::Write {
        bytes,
        partial: false,
    }
}

const LOOK: Op = Op::Poll { scan: true };

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
