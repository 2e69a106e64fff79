//! The demo: the real service on a simulated cluster that things happen to.
//!
//! Everything is as in production (configuration, plugins, loop, store), but for two seams: connections lead into a
//! [`sim::World`], and the clock is the world's. The world's time runs faster than ours; so do the intervals in the
//! configuration, while graces and time-outs are those of the cluster's own time.

mod connect;
mod lines;
mod screen;
mod story;

use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sim::settings::{Agents, Hardware, Traffic};
use sim::{Moment, Schedule, Settings, Shape, SharedWorld, World};
use thiserror::Error;
use tokio::time::Instant;

use self::connect::{SimConnect, WorldClock};
use self::lines::Lines;
use self::screen::Screen;
use crate::api::status::ClusterStatus;
use crate::config::{self, Config};
use crate::plugin::{Clock, PluginRegistry};
use crate::shell::service::{Service, ServiceError};
use crate::shell::snapshot::ClusterHandle;

/// What the demo shows.
#[derive(Clone, Debug)]
pub(crate) struct Demo {
    /// What is left to chance follows from it.
    pub(crate) seed: u64,
    /// How much faster than ours the cluster's time runs.
    pub(crate) speed: u32,
    /// Brokers, in three racks.
    pub(crate) brokers: u32,
    /// What happens.
    pub(crate) story: Schedule,
    /// Whether it goes on when the story is over.
    pub(crate) keep_going: bool,
}

/// The story that is told unless a file says otherwise.
pub(crate) const STORY: &str = include_str!("story.txt");

/// Why the demo could not be shown.
#[derive(Debug, Error)]
pub(crate) enum DemoError {
    /// A folder for the service's state could not be made.
    #[error("cannot make a temporary directory")]
    Folder(#[source] io::Error),
    /// The service does not take the configuration of the demo.
    #[error("the demo's configuration is wrong:\n{0}")]
    Config(String),
    /// The service could not be started.
    #[error(transparent)]
    Service(#[from] ServiceError),
    /// The terminal could not be written.
    #[error("cannot write to the terminal")]
    Terminal(#[source] io::Error),
}

/// How long the cluster is watched after the last thing that the story lets happen.
const AFTERMATH: Duration = Duration::from_secs(30);
/// How often the world goes on and the picture is drawn.
const FRAME: Duration = Duration::from_millis(50);
/// The picture changes at most so often: nobody reads faster.
const DRAW_EVERY: u32 = 4;

impl Demo {
    /// Shows it on this terminal until the story is over, or somebody presses Ctrl-C. Nothing is left behind.
    ///
    /// # Errors
    /// It could not be started, or nobody can see it.
    pub(crate) async fn show(self, registry: &PluginRegistry) -> Result<(), DemoError> {
        let folder =
            tempfile::Builder::new().prefix("doctorkafka-demo-").tempdir().map_err(DemoError::Folder)?;
        let world = SharedWorld::new(self.world());
        let clock = Arc::new(WorldClock::new(&world));
        let connect = Arc::new(SimConnect::new(&world, self.speed));
        let config = self.config(folder.path(), registry)?;
        let mut show = Show::open(&self, world, clock.clone())?;
        let service = Service::start(config, connect, clock).await?;
        let shown = show.play(&self, service.clusters()).await;
        service.end().await;
        show.close(&self).and(shown)
    }

    /// The end of the story, in the cluster's time.
    fn end(&self) -> Moment {
        let last = self.story.0.iter().map(story::at_the_latest).max().unwrap_or_default();
        Moment::default().plus(last + AFTERMATH)
    }

    fn world(&self) -> World {
        let shape = Shape { brokers: self.brokers, racks: 3, topics: 12, partitions: 20, replicas: 3 };
        let settings = Settings {
            seed: self.seed,
            hardware: Hardware { dir_bytes: 100 << 30, ..Hardware::default() },
            traffic: Some(Traffic { mean_bytes_in: 100_000, consumed_permille: 1_500, hot_permille: 10 }),
            partition_bytes: 100 << 20,
            min_in_sync: 2,
            agents: Some(Agents {
                topic: crate::plugins::STATS_TOPIC.to_owned(),
                interval: Duration::from_secs(10),
            }),
            ..Settings::default()
        };
        let mut world = World::new(&shape.text(self.seed), settings);
        world.plan(&self.story);
        world
    }

    /// The configuration: as a person would write it for a cluster that may be healed at once.
    fn config(&self, folder: &Path, registry: &PluginRegistry) -> Result<Config, DemoError> {
        // Nothing may be asked for more often than every 100 ms.
        let every = |ms: u32| format!("{}ms", (ms / self.speed).max(100));
        let (second, half_minute) = (every(1_000), every(30_000));
        let text = format!(
            "\
doctorkafka:
  state_dir: {state_dir}
  evaluation_interval: {second}
monitors:
  - {{type: kafka_metadata, interval: {second}, refresh: {half_minute}, log_dirs_refresh: {half_minute}}}
  - {{type: broker_probe, interval: {second}}}
  - {{type: broker_stats}}
  - {{type: maintenance}}
  - {{type: dead_brokers, grace: 5s}}
  - {{type: under_replicated_partitions}}
operators:
  - {{type: under_replicated_partitions}}
actions:
  - {{type: reassign_partitions, dry_run: false}}
  - {{type: elect_leaders, dry_run: false}}
  - {{type: report_operation}}
kafkaclusters:
  - {{name: demo, bootstrap_servers: 'b1:9092,b2:9092'}}
",
            state_dir = folder.join("state").display(),
        );
        let file = folder.join("demo.yaml");
        std::fs::write(&file, text).map_err(DemoError::Folder)?;
        let loaded = config::load(&file, registry);
        loaded.config.ok_or_else(|| DemoError::Config(loaded.report.render(false)))
    }
}

/// The demo as it is seen.
struct Show {
    world: SharedWorld,
    clock: Arc<WorldClock>,
    lines: Lines,
    screen: Option<Screen>,
}

impl Show {
    fn open(demo: &Demo, world: SharedWorld, clock: Arc<WorldClock>) -> Result<Self, DemoError> {
        let is_terminal = io::stdout().is_terminal();
        let screen = is_terminal.then(Screen::open).transpose().map_err(DemoError::Terminal)?;
        let mut show = Self { world, clock, lines: Lines::default(), screen };
        show.say(story::beginning(demo))?;
        Ok(show)
    }

    /// Lets time go on until the story is over.
    async fn play(&mut self, demo: &Demo, clusters: &[ClusterHandle]) -> Result<(), DemoError> {
        let start = Instant::now();
        let end = demo.end();
        let mut frames = tokio::time::interval(FRAME);
        frames.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut interrupted = std::pin::pin!(tokio::signal::ctrl_c());
        for frame in 0_u32.. {
            tokio::select! {
                _ = frames.tick() => {}
                _ = &mut interrupted => return Ok(()),
            }
            let now = Moment::default().plus(start.elapsed() * demo.speed);
            let happened = {
                let mut world = self.world.lock();
                world.advance_to(now);
                world.take_history()
            };
            let lines = self.lines.new_ones(&happened, clusters);
            self.say(lines)?;
            if frame % DRAW_EVERY == 0 {
                self.draw(demo, now, clusters)?;
            }
            if now >= end && !demo.keep_going {
                return Ok(());
            }
        }
        Ok(())
    }

    fn draw(&mut self, demo: &Demo, now: Moment, clusters: &[ClusterHandle]) -> Result<(), DemoError> {
        let Some(screen) = &mut self.screen else { return Ok(()) };
        let Some(cluster) = clusters.first() else { return Ok(()) };
        let status = ClusterStatus::of(cluster, self.clock.now());
        let panels = self.world.lock().panels();
        let end = (!demo.keep_going).then(|| demo.end());
        screen.draw(now, end, &panels, &status).map_err(DemoError::Terminal)
    }

    fn say(&mut self, lines: Vec<lines::Line>) -> Result<(), DemoError> {
        for line in lines {
            let written = match &mut self.screen {
                Some(screen) => screen.say(&line),
                None => writeln!(io::stdout(), "{line}"),
            };
            written.map_err(DemoError::Terminal)?;
        }
        Ok(())
    }

    /// The last words, on a terminal that is as it was.
    fn close(mut self, demo: &Demo) -> Result<(), DemoError> {
        if let Some(screen) = self.screen.take() {
            screen.close().map_err(DemoError::Terminal)?;
        }
        let ending = story::ending(&self.world, &self.lines, demo);
        self.say(ending)
    }
}

#[cfg(test)]
mod tests;
