//! The demo: the real service on a simulated cluster that things happen to.
//!
//! Everything is as in production (configuration, plugins, loop, store), but for two seams: connections lead into a
//! [`sim::World`], and the clock is the world's. The world's time runs faster than ours; so do the intervals in the
//! configuration, while graces and time-outs are those of the cluster's own time.

mod calm;
mod connect;
mod lines;
mod picture;
mod process;
mod screen;
mod signals;
mod story;

use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use cluster::notation::ClusterText;
use control::Order;
use control::config::HumanDuration;
use sim::scenario::{PlannedOrder, Player, Scenario, ScenarioError, Wanted};
use sim::settings::{Agents, Hardware, Traffic};
use sim::{Moment, Settings, Shape, SharedWorld, World};
use thiserror::Error;
use tokio::task::JoinSet;
use tokio::time::Instant;

use self::calm::{Calm, QUIET};
use self::connect::{SimConnect, WorldClock};
use self::lines::{Clocks, Line, Lines, Voice};
use self::picture::Picture;
use self::process::Process;
use self::screen::Screen;
use self::signals::Signals;
use crate::api::status::ClusterStatus;
use crate::config::{self, Config};
use crate::plugin::{Clock, PluginRegistry};
use crate::shell::service::ServiceError;
use crate::shell::snapshot::ClusterHandle;

/// What the demo shows.
#[derive(Clone, Debug)]
pub(crate) struct Demo {
    /// What is left to chance follows from it.
    pub(crate) seed: u64,
    /// How much faster than ours the cluster's time runs.
    pub(crate) speed: u32,
    /// Brokers of the usual cluster, in three racks.
    pub(crate) brokers: u32,
    /// What happens, and to which cluster if not to the usual one.
    pub(crate) scenario: Scenario,
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
    /// The service has no threads to run on.
    #[error("cannot start a thread")]
    Threads(#[source] io::Error),
    /// Nobody could end it in order.
    #[error("cannot wait for signals")]
    Signals(#[source] io::Error),
    /// The terminal could not be written.
    #[error("cannot write to the terminal")]
    Terminal(#[source] io::Error),
}

/// The grace where a scenario says nothing.
const GRACE: Duration = Duration::from_secs(5);
/// How long the cluster is watched at most after the last thing that a scenario lets happen, if it does not say how long
/// it goes on.
const AFTERMATH: Duration = Duration::from_secs(600);
/// How often the world goes on and the picture is drawn.
const FRAME: Duration = Duration::from_millis(50);
/// The world goes on by so many frames at most in one: on a machine that does not keep up, its time stands still rather
/// than leave the service behind.
const FRAMES_AT_ONCE: u32 = 3;
/// The picture changes at most so often: nobody reads faster.
const DRAW_EVERY: u32 = 4;

impl Demo {
    /// Reads a scenario for the demo; `brokers` are those of the usual cluster, which a file without one of its own is
    /// about.
    ///
    /// # Errors
    /// It is not in the notation, or has what cannot be played here: steps without a moment.
    pub(crate) fn read(file: &[u8], brokers: u32, seed: u64) -> Result<Scenario, ScenarioError> {
        let usual = usual_cluster(brokers, seed);
        Scenario::read(file, &Player { usual, plays_moments: true, plays_crashes: true, ..Player::default() })
    }

    /// Shows it on this terminal until the story is over, or a signal ends it. Nothing is left behind.
    ///
    /// # Errors
    /// It could not be started, or nobody can see it.
    pub(crate) async fn show(self, registry: &PluginRegistry) -> Result<(), DemoError> {
        // First of all, so that a signal finds nothing that would be left behind.
        let mut signals = Signals::new().map_err(DemoError::Signals)?;
        let folder =
            tempfile::Builder::new().prefix("doctorkafka-demo-").tempdir().map_err(DemoError::Folder)?;
        let world = SharedWorld::new(self.world());
        let clock = Arc::new(WorldClock::new(&world));
        let connect = Arc::new(SimConnect::new(&world, self.speed));
        // Nothing is told before it is known that there is something to be shown.
        let mut config = self.config(folder.path(), registry)?;
        let mut show = Show::open(&self, world, clock.clone())?;
        loop {
            let process = Process::start(config, connect.clone(), clock.clone()).await?;
            let shown = show.play(&self, process.clusters(), &mut signals).await;
            if let Ok(Scene::Crash) = shown {
                process.kill().await;
                show.lines.begin_again();
                config = self.config(folder.path(), registry)?;
                continue;
            }
            let last = process.clusters().first().map(|cluster| ClusterStatus::of(cluster, show.clock.now()));
            process.end().await;
            return show.close(last.as_ref()).and(shown.map(|_| ()));
        }
    }

    /// The cluster as it is at first.
    fn cluster(&self) -> ClusterText {
        if self.scenario.cluster.brokers.is_empty() {
            usual_cluster(self.brokers, self.seed)
        } else {
            self.scenario.cluster.clone()
        }
    }

    fn grace(&self) -> Duration {
        self.scenario.grace.unwrap_or(GRACE)
    }

    /// When it ends at the latest, in the cluster's time; `None` if it goes on.
    fn end(&self) -> Option<Moment> {
        let limit = self.scenario.run.unwrap_or_else(|| self.scenario.over() + AFTERMATH);
        (!self.keep_going).then(|| Moment::default().plus(limit))
    }

    fn world(&self) -> World {
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
        let mut world = World::new(&self.cluster(), self.scenario.settings(settings));
        world.plan(&self.scenario.faults);
        world
    }

    /// The configuration: as a person would write it for a cluster that may be healed at once.
    fn config(&self, folder: &Path, registry: &PluginRegistry) -> Result<Config, DemoError> {
        // Nothing may be asked for more often than every 100 ms.
        let every = |ms: u32| format!("{}ms", (ms / self.speed).max(100));
        let (second, half_minute) = (every(1_000), every(30_000));
        let cluster = self.cluster();
        let bootstrap = cluster.brokers.values().take(2).map(|text| text.broker.address.to_string());
        let bootstrap = bootstrap.collect::<Vec<_>>().join(",");
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
  - {{type: dead_brokers, grace: {grace}}}
  - {{type: no_broker_stats, no_stats_seconds: 2m}}
  - {{type: under_replicated_partitions}}
operators:
  - {{type: under_replicated_partitions{throttle}}}
actions:
  - {{type: reassign_partitions, dry_run: {dry_run}}}
  - {{type: elect_leaders, dry_run: {dry_run}}}
  - {{type: report_operation}}
kafkaclusters:
  - {{name: demo, bootstrap_servers: '{bootstrap}'}}
",
            grace = HumanDuration(self.grace()),
            dry_run = self.scenario.dry_run,
            throttle = self.scenario.throttle.map_or_else(String::new, |rate| format!(", throttle: {rate}")),
            state_dir = folder.join("state").display(),
        );
        let file = folder.join("demo.yaml");
        std::fs::write(&file, text).map_err(DemoError::Folder)?;
        let loaded = config::load(&file, registry);
        loaded.config.ok_or_else(|| DemoError::Config(loaded.report.render(false)))
    }
}

/// The cluster that the demo shows unless a scenario has one of its own.
fn usual_cluster(brokers: u32, seed: u64) -> ClusterText {
    Shape { brokers, racks: 3, topics: 12, partitions: 20, replicas: 3 }.text(seed)
}

/// How a scene ends.
enum Scene {
    /// The story is over.
    End,
    /// The service is to be killed.
    Crash,
}

/// The demo as it is seen.
struct Show {
    /// The cluster's time.
    now: Moment,
    world: SharedWorld,
    clock: Arc<WorldClock>,
    lines: Lines,
    screen: Option<Screen>,
    /// What people are still to order, the next one last.
    orders: Vec<PlannedOrder>,
    /// Orders on their way.
    given: JoinSet<Result<String, String>>,
    calm: Calm,
}

impl Show {
    fn open(demo: &Demo, world: SharedWorld, clock: Arc<WorldClock>) -> Result<Self, DemoError> {
        let mut orders = demo.scenario.orders.clone();
        orders.sort_by_key(|order| std::cmp::Reverse(order.at));
        let lines = Lines::of(demo.cluster());
        let (given, calm) = (JoinSet::new(), Calm::default());
        let now = Moment::default();
        let mut show = Self { now, world, clock, lines, screen: None, orders, given, calm };
        // First words, then the terminal: it may take its time to answer, or not answer at all.
        show.say(story::beginning(demo))?;
        show.screen = Screen::open();
        Ok(show)
    }

    /// Lets time go on until the story is over, or the service crashes.
    async fn play(
        &mut self,
        demo: &Demo,
        clusters: &[ClusterHandle],
        signals: &mut Signals,
    ) -> Result<Scene, DemoError> {
        let mut frames = tokio::time::interval(FRAME);
        frames.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut last = Instant::now();
        for frame in 0_u32.. {
            tokio::select! {
                _ = frames.tick() => {}
                () = signals.next() => return Ok(Scene::End),
            }
            let elapsed = last.elapsed().min(FRAME * FRAMES_AT_ONCE);
            last = Instant::now();
            self.now = self.now.plus(elapsed * demo.speed);
            let now = self.now;
            let (happened, our_wall_ms, crashes) = {
                let mut world = self.world.lock();
                world.advance_to(now);
                (world.take_history(), world.our_wall_ms(), world.take_crashes())
            };
            let mut lines = self.give_orders(now, clusters);
            lines.extend(self.lines.new_ones(Clocks { now, our_wall_ms }, &happened, clusters));
            self.say(lines)?;
            if crashes > 0 {
                return Ok(Scene::Crash);
            }
            if frame % DRAW_EVERY == 0 && self.draw(demo, now, clusters)? {
                return Ok(Scene::End);
            }
        }
        Ok(Scene::End)
    }

    /// Gives the orders that are due, and tells of those that could not be taken.
    fn give_orders(&mut self, now: Moment, clusters: &[ClusterHandle]) -> Vec<Line> {
        let line = |voice, text| Line { at: Some(now), voice, text };
        let mut lines = Vec::new();
        while let Some(order) = self.orders.pop_if(|order| Moment::default().plus(order.at) <= now) {
            lines.push(line(Voice::Narrator, story::of_order(order.what)));
            for cluster in clusters {
                self.given.spawn(give(cluster.clone(), order.what));
            }
        }
        while let Some(answer) = self.given.try_join_next() {
            if let Ok(Err(why)) = answer {
                lines.push(line(Voice::Alarm, format!("the order was not taken: {why}")));
            }
        }
        lines
    }

    /// Draws the picture, and says whether all is over.
    fn draw(&mut self, demo: &Demo, now: Moment, clusters: &[ClusterHandle]) -> Result<bool, DemoError> {
        let Some(cluster) = clusters.first() else { return Ok(true) };
        let status = ClusterStatus::of(cluster, self.clock.now());
        let panels = self.world.lock().panels();
        let quiet = self.calm.look(now, &panels, &status);
        let end = demo.end();
        if let Some(screen) = &mut self.screen {
            let picture = Picture { now, end, panels: &panels, status: &status };
            screen.draw(&picture).map_err(DemoError::Terminal)?;
        }
        let nothing_more = now >= Moment::default().plus(demo.scenario.over() + QUIET) && quiet >= QUIET;
        Ok(end.is_some_and(|end| now >= end || nothing_more))
    }

    fn say(&mut self, lines: Vec<Line>) -> Result<(), DemoError> {
        let mut out = io::stdout();
        for line in lines {
            let said = match &mut self.screen {
                Some(screen) => screen.say(&line),
                None => writeln!(out, "{}", screen::wrapped(&line)).and_then(|()| out.flush()),
            };
            said.map_err(DemoError::Terminal)?;
        }
        Ok(())
    }

    /// Gives the terminal back, and tells how it ended.
    fn close(mut self, status: Option<&ClusterStatus>) -> Result<(), DemoError> {
        if let Some(screen) = self.screen.take() {
            screen.close().map_err(DemoError::Terminal)?;
        }
        let ending = story::ending(&self.world, &self.lines, status);
        self.say(ending)
    }
}

/// Gives an order as a person would.
async fn give(cluster: ClusterHandle, what: Wanted) -> Result<String, String> {
    let order = Order { by: "the story".to_owned(), reason: String::new(), what: what.order() };
    cluster.order(order).await
}

#[cfg(test)]
mod tests;
