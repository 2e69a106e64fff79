//! The demo, as it is told and as it looks.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use sim::{Moment, SharedWorld};

use super::*;

fn demo() -> Demo {
    Demo { seed: 1, speed: 5, brokers: 12, story: STORY.parse().unwrap(), keep_going: false }
}

#[test]
fn the_story_ends_within_a_minute_at_its_usual_speed() {
    let demo = demo();
    assert!(demo.end().0 / u64::from(demo.speed) < 55_000, "{}", demo.end());
}

#[test]
fn the_narrator_knows_every_fault_of_the_story() {
    for planned in demo().story.0 {
        let fault = planned.fault.to_string();
        assert!(story::of_fault(&fault).len() > fault.len() + 20, "{fault}");
    }
    assert_eq!(story::of_fault("clock +1h"), "clock +1h.");
}

#[test]
fn the_configuration_is_one_that_the_service_takes() {
    let folder = tempfile::tempdir().unwrap();
    for speed in 1..=20 {
        let demo = Demo { speed, ..demo() };
        let config = demo.config(folder.path(), &crate::plugins::builtin()).unwrap();
        assert_eq!(config.clusters.len(), 1);
        assert!(config.clusters[0].actions.iter().all(|action| !action.dry_run));
    }
}

#[test]
fn the_picture_shows_who_is_down_and_fits_its_place() {
    let mut world = demo().world();
    world.advance_to(Moment(30_000));
    let panels = SharedWorld::new(world).lock().panels();
    let area = Rect::new(0, 0, 120, 16);
    let mut buffer = Buffer::empty(area);
    screen::picture(Moment(30_000), None, &panels, &ClusterStatus::default(), area, &mut buffer);
    let text: Vec<String> = (0..area.height)
        .map(|y| (0..area.width).map(|x| buffer[(x, y)].symbol()).collect::<String>())
        .collect();
    assert!(text[0].starts_with("── DoctorKafka ── 00:30.0 ──"), "{}", text[0]);
    let of = |name: &str| text.iter().find(|row| row.contains(name)).unwrap().clone();
    assert!(text[1].starts_with("r1          network  disk     copies  r2          network"), "{}", text[1]);
    assert!(of("b3 ").contains("b3  DOWN"), "{text:#?}");
    assert!(of("b4 ").contains("b4  up"), "{text:#?}");
}
