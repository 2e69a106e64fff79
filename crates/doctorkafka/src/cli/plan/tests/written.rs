//! What a plan is written to.

use super::*;

const GOALS: [&str; 2] = ["--goals", "RackAwareGoal,ReplicaDistributionGoal,LeaderReplicaDistributionGoal"];

/// Names of what is in a folder.
fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_dash_is_standard_output() {
    let placement = "topic,partition,replicas,leader\nt,0,1|2,1\nt,1,3|2,3\nt,2,1|2,2\n";
    assert_eq!(plan(&[&GOALS[..], &["--out", "-"]].concat()).unwrap(), placement);
    let moves = plan(&[&GOALS[..], &["--reassignment-json", "-"]].concat()).unwrap();
    assert!(moves.starts_with("{\"partitions\":[{") && moves.ends_with("\"version\":1}\n"), "{moves}");
    assert!(!Path::new("-").exists());
    let folder = folder();
    let (nothing, notes) = with_notes(&folder, &["--mode", "heal", "--reassignment-json", "-"]).unwrap();
    let said = "standard output is not written: there is nothing to reassign";
    assert_eq!((nothing.as_str(), notes.as_slice()), ("", &[said.to_owned()][..]));
}

#[test]
fn standard_output_has_room_for_one() {
    let why = "standard output has room for one: --json, --out - or --reassignment-json -";
    for two in [
        &["--out", "-", "--json"][..],
        &["--reassignment-json", "-", "--json"],
        &["--out", "-", "--reassignment-json", "-"],
    ] {
        assert_eq!(plan(two).unwrap_err(), why);
    }
}

#[test]
fn both_files_are_written_or_neither() {
    let to = tempfile::tempdir().unwrap();
    let (out, moves) = (to.path().join("placement.csv"), to.path().join("moves.json"));
    let nowhere = to.path().join("none/moves.json");
    let write = |out: &Path, moves: &Path| {
        let files = ["--out", out.to_str().unwrap(), "--reassignment-json", moves.to_str().unwrap()];
        plan(&[&GOALS[..], &files].concat())
    };
    assert!(write(&out, &nowhere).unwrap_err().starts_with("cannot write "));
    assert_eq!(names(to.path()), Vec::<String>::new());
    fs::write(&out, "of before").unwrap();
    write(&out, &nowhere).unwrap_err();
    assert_eq!((fs::read_to_string(&out).unwrap().as_str(), names(to.path()).len()), ("of before", 1));
    write(&out, &moves).unwrap();
    assert_eq!(names(to.path()), ["moves.json", "placement.csv"]);
    assert!(fs::read_to_string(&out).unwrap().starts_with("topic,partition,replicas,leader\n"));
}

#[test]
fn a_link_stays_one_and_what_is_no_file_is_written_to() {
    let to = tempfile::tempdir().unwrap();
    let (file, link) = (to.path().join("placement.csv"), to.path().join("link.csv"));
    fs::write(&file, "").unwrap();
    std::os::unix::fs::symlink(&file, &link).unwrap();
    plan(&[&GOALS[..], &["--out", link.to_str().unwrap()]].concat()).unwrap();
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert!(fs::read_to_string(&file).unwrap().starts_with("topic,"));
    plan(&[&GOALS[..], &["--out", "/dev/null"]].concat()).unwrap();
    assert!(!fs::metadata("/dev/null").unwrap().is_file());
    let folder = plan(&[&GOALS[..], &["--out", to.path().to_str().unwrap()]].concat()).unwrap_err();
    assert!(folder.starts_with("cannot write "), "{folder}");
}

#[test]
fn replicas_that_cannot_be_created_are_warned_of() {
    let factor = |factor: &str| {
        let mode = ["--mode", "replication-factor", "--topics", "t", "--factor", factor];
        with_notes(&folder(), &[&mode[..], &["--goals", "RackAwareGoal"]].concat()).unwrap().1
    };
    let why = "warning: 18 of the 21 replicas that a factor of 9 asks for are not created: no two replicas of a partition share a \
               broker, and 3 living brokers may take some";
    assert_eq!(factor("9"), [why]);
    assert_eq!(factor("3"), Vec::<String>::new());
}
