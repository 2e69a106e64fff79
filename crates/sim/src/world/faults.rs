//! How faults come over the world, and how they end.

use std::time::Duration;

use cluster::ClusterId;

use super::World;
use super::broker::Process;
use super::history::Happening;
use super::metadata::Client;
use crate::fault::{Cut, Fault, Lasting, Party, Who};

impl World {
    /// Lets a fault happen now. `lasting` is how long it lasts, for what lasts until it is ended.
    pub(super) fn fault(&mut self, fault: &Fault, lasting: Option<Duration>) {
        self.history.push(self.now, Happening::Fault(fault.clone(), lasting));
        self.note_if_in_vain(fault);
        match fault {
            Fault::Kill(who) => self.with(*who, Self::kill),
            Fault::ShutDown(who) => self.with(*who, |world, broker| world.shut_down(broker, false)),
            Fault::Restart(who) => self.with(*who, |world, broker| world.shut_down(broker, true)),
            Fault::Recover(who, time) => self.with(*who, |world, broker| {
                world.kill(broker);
                world.start(broker, *time);
            }),
            Fault::Replace(who) => self.with(*who, Self::replace),
            Fault::Pause(who, time) => self.with(*who, |world, broker| world.pause(broker, *time)),
            Fault::Flap(who) => self.with(*who, Self::flap),
            Fault::Fill(who, percent) => self.with(*who, |world, broker| world.fill(broker, *percent)),
            Fault::SlowDisk(..) | Fault::FrozenMetadata(_) | Fault::AgentSilent(_) | Fault::Isolate(..) => {
                self.start_lasting(fault, lasting);
            }
            Fault::StatsLag(time) => {
                if let Some(agents) = &mut self.agents {
                    agents.lag = *time;
                }
                self.lasts(Lasting::StatsLag, lasting);
            }
            Fault::StatsUnreachable => self.lasts(Lasting::StatsUnreachable, lasting),
            Fault::TopicsUnreadable => self.lasts(Lasting::TopicsUnreadable, lasting),
            Fault::AnswersLost => self.lasts(Lasting::AnswersLost, lasting),
            Fault::Traffic(topic, permille) => match self.by_name.get(topic).copied() {
                Some(topic) => {
                    self.set_traffic(topic, *permille);
                    self.lasts(Lasting::Traffic(topic), lasting);
                }
                None => self.note(format!("there is no topic {topic}")),
            },
            Fault::RackDown(rack) => self.rack_down(rack),
            Fault::ForeignReassignment(at, to) => {
                if let Err((code, why)) = self.reassign(at, Some(to)) {
                    self.note(format!("refused: {code}: {why}"));
                }
            }
            Fault::ForeignCancel(at) => {
                if let Err((code, why)) = self.reassign(at, None) {
                    self.note(format!("refused: {code}: {why}"));
                }
            }
            Fault::CrashUs => self.us.crashes += 1,
            Fault::AnotherCluster => self.become_cluster(ClusterId("another".into())),
            Fault::Clock(ms) => {
                self.us.clock_ms = self.us.clock_ms.saturating_add(*ms);
                self.us.clock_set = Some(self.now);
            }
            Fault::Calm => self.calm(),
        }
    }

    /// Says so when something is done to a process that there is not.
    fn note_if_in_vain(&mut self, fault: &Fault) {
        let (Fault::Kill(Who::Broker(id))
        | Fault::ShutDown(Who::Broker(id))
        | Fault::Pause(Who::Broker(id), _)) = fault
        else {
            return;
        };
        let down = self.by_id.get(id).is_some_and(|broker| self.brokers[*broker].process == Process::Down);
        if down {
            self.note(format!("broker {id} is down already"));
        }
    }

    fn with(&mut self, who: Who, act: impl FnOnce(&mut Self, usize)) {
        match self.who(who) {
            Some(broker) => act(self, broker),
            None => self.note(format!("there is no broker {who}")),
        }
    }

    fn who(&mut self, who: Who) -> Option<usize> {
        match who {
            Who::Broker(id) => self.by_id.get(&id).copied(),
            Who::Any => {
                let all: Vec<usize> = (0..self.brokers.len()).collect();
                let chosen = self.random.pick(&all).copied();
                if let Some(broker) = chosen {
                    self.note(format!("it is broker {}", self.id(broker)));
                }
                chosen
            }
        }
    }

    fn start_lasting(&mut self, fault: &Fault, lasting: Option<Duration>) {
        let (Fault::SlowDisk(who, _)
        | Fault::FrozenMetadata(who)
        | Fault::AgentSilent(who)
        | Fault::Isolate(who, _)) = fault
        else {
            return;
        };
        let Some(broker) = self.who(*who) else {
            self.note(format!("there is no broker {who}"));
            return;
        };
        match fault {
            Fault::SlowDisk(_, rate) => {
                self.brokers[broker].disk_rate = *rate;
                self.reload();
                self.lasts(Lasting::SlowDisk(broker), lasting);
            }
            Fault::FrozenMetadata(_) => {
                self.lasts(Lasting::Frozen(broker), lasting);
                self.freeze(broker);
                self.follow_all(broker);
            }
            Fault::AgentSilent(_) => self.lasts(Lasting::Silent(broker), lasting),
            Fault::Isolate(_, party) => match self.other_end(*party) {
                Some(Cut::Broker(other)) if other == broker => {}
                Some(cut) => self.isolate(broker, cut, lasting),
                None => self.note(format!("there is no broker {party}")),
            },
            _ => {}
        }
    }

    fn other_end(&self, party: Party) -> Option<Cut> {
        match party {
            Party::Broker(id) => self.by_id.get(&id).copied().map(Cut::Broker),
            Party::Us => Some(Cut::Us),
            Party::Controller => Some(Cut::Controller),
        }
    }

    fn isolate(&mut self, broker: usize, cut: Cut, lasting: Option<Duration>) {
        // The connection of two brokers is written from the lower to the higher.
        let (broker, cut) = match cut {
            Cut::Broker(other) => (broker.min(other), Cut::Broker(broker.max(other))),
            cut => (broker, cut),
        };
        self.lasts(Lasting::Isolated(broker, cut), lasting);
        self.cut.insert((broker, cut));
        self.after_cut(broker, cut);
    }

    fn after_cut(&mut self, broker: usize, cut: Cut) {
        match cut {
            Cut::Broker(_) => self.follow_all(broker),
            Cut::Us => self.watch_answers(broker),
            Cut::Controller => {
                if self.cut.contains(&(broker, cut)) {
                    self.freeze(broker);
                } else {
                    self.thaw(broker);
                }
                self.watch_session(broker);
                self.follow_all(broker);
            }
        }
    }

    fn follow_all(&mut self, broker: usize) {
        for p in self.partitions_of(broker) {
            self.follow(p);
        }
    }

    /// Notes that something lasts from now on, and when it ends.
    fn lasts(&mut self, what: Lasting, time: Option<Duration>) {
        let end = time.map(|time| self.now.plus(time));
        self.lasting.insert(what, end);
        if let Some(end) = end {
            self.schedule_at(end, super::Event::Ended(what));
        }
    }

    pub(super) fn end_lasting(&mut self, what: Lasting) {
        self.lasting.remove(&what);
        match what {
            Lasting::SlowDisk(broker) => {
                self.brokers[broker].disk_rate = self.settings.hardware.disk_rate;
                self.reload();
            }
            Lasting::Isolated(broker, cut) => {
                self.cut.remove(&(broker, cut));
                self.after_cut(broker, cut);
            }
            Lasting::Frozen(broker) => {
                self.thaw(broker);
                self.follow_all(broker);
                self.wake_replication();
            }
            Lasting::Silent(_)
            | Lasting::StatsUnreachable
            | Lasting::TopicsUnreadable
            | Lasting::AnswersLost => {}
            Lasting::StatsLag => {
                if let Some(agents) = &mut self.agents {
                    agents.lag = Duration::ZERO;
                }
            }
            Lasting::Traffic(topic) => self.set_traffic(topic, 1000),
        }
    }

    /// Whether what `client` orders is done without an answer.
    pub(crate) fn loses_answers(&self, client: Client) -> bool {
        client == Client::Us && self.lasting.contains_key(&Lasting::AnswersLost)
    }

    /// Whether `client` is told neither topics nor reassignments.
    pub(crate) fn hides_topics(&self, client: Client) -> bool {
        client == Client::Us && self.lasting.contains_key(&Lasting::TopicsUnreadable)
    }

    fn reload(&mut self) {
        self.loads_due = true;
        self.watch_loads();
        self.wake_replication();
    }

    fn set_traffic(&mut self, topic: usize, permille: u32) {
        for p in self.topics[topic].partitions.clone() {
            self.count_log(p);
        }
        self.topics[topic].factor = permille;
        self.reload();
    }

    fn rack_down(&mut self, rack: &str) {
        let of_rack = |broker: &usize| self.brokers[*broker].broker.rack.as_deref() == Some(rack);
        let all: Vec<usize> = (0..self.brokers.len()).filter(of_rack).collect();
        if all.is_empty() {
            self.note(format!("there is no rack {rack}"));
        }
        all.into_iter().for_each(|broker| self.kill(broker));
    }

    fn fill(&mut self, broker: usize, percent: u8) {
        let used = self.used(broker);
        let dirs = self.brokers[broker].dirs.iter_mut().zip(used);
        if let Some((dir, used)) = dirs.into_iter().find(|(dir, _)| !dir.failed) {
            let wanted = u128::from(dir.total) * u128::from(percent) / 100;
            let wanted = u64::try_from(wanted).unwrap_or(u64::MAX);
            let kafka = used.saturating_sub(dir.other);
            dir.other = dir.other.max(wanted.saturating_sub(kafka));
        }
        // The next write brings it out.
        self.schedule(Duration::from_secs(1), super::Event::DiskCheck);
    }

    fn calm(&mut self) {
        for what in self.lasting.keys().copied().collect::<Vec<_>>() {
            self.end_lasting(what);
        }
        for broker in 0..self.brokers.len() {
            for dir in &mut self.brokers[broker].dirs {
                dir.other = 0;
            }
            if self.brokers[broker].dirs.iter().any(|dir| dir.failed) {
                // A broker takes a log directory back into service when it starts.
                self.shut_down(broker, true);
            }
            self.start(broker, Duration::ZERO);
        }
    }
}
