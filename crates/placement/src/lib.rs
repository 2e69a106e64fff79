//! Clusters and placements as folders of CSV files, and clusters as JSON.
//!
//! A cluster is `brokers.csv` (`id,rack,state,cap_cpu,cap_nw_in,cap_nw_out,cap_disk`, the state `ALIVE` or `DEAD`) and
//! `replicas.csv.gz`, or `replicas.csv` where there is no such file
//! (`topic,partition,position,broker,leader,cpu,nw_in,nw_out,disk,fcpu,fnw_out`, one line per replica in order of
//! position, partitions together; the last two are CPU and outbound network if it follows). A placement is
//! `topic,partition,replicas,leader`, brokers joined by `|`. CPU is in percent, network in KB/s, disk in MB.

mod generate;
mod json;
mod outcome;

pub use generate::{Shape, generate};
pub use json::read_json;
pub use outcome::{Outcome, Reassignment, outcome, write_placement};

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;
use planner::balance::{Broker, Cluster, ClusterError, Loads, Mark, Partition, Replica};

/// What went wrong with a folder.
#[derive(Debug, thiserror::Error)]
pub enum PlacementError {
    /// A file cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A line is not as described.
    #[error("{path}, line {line}: {what}")]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        what: &'static str,
    },
    /// A file is not JSON, or not as described.
    #[error("{path}: {what}")]
    Json {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// What a line says is not possible.
    #[error("{path}, near line {line}")]
    Cluster {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// Why.
        #[source]
        source: ClusterError,
    },
}

/// A cluster with the names that the planner does not know.
#[derive(Debug, Clone)]
pub struct Named {
    /// The cluster.
    pub cluster: Cluster,
    /// Broker ids by ordinal.
    pub broker_ids: Vec<i32>,
    /// Topic names by number.
    pub topics: Vec<String>,
    /// Partition numbers by ordinal.
    pub partitions: Vec<i32>,
}

/// Parts of a percent, KB/s and MB that make one of the planner's units: a billion for CPU, a million for the others.
const SCALE: [f64; 4] = [1e9, 1e6, 1e6, 1e6];

/// A figure of one resource, as the files have it, in the planner's units; nothing where it is negative or too large.
pub fn fixed_point(resource: usize, figure: f64) -> Option<i64> {
    let scaled = (figure * SCALE[resource]).round();
    (0.0..1e17).contains(&scaled).then_some(scaled as i64)
}

struct Lines {
    path: PathBuf,
    line: usize,
    reader: Box<dyn BufRead>,
    text: String,
}

impl Lines {
    fn open(path: PathBuf) -> Result<Lines, PlacementError> {
        let file = File::open(&path).map_err(|source| PlacementError::Read { path: path.clone(), source })?;
        let zipped = path.extension().is_some_and(|extension| extension == "gz");
        let reader: Box<dyn BufRead> = if zipped {
            Box::new(BufReader::new(GzDecoder::new(file)))
        } else {
            Box::new(BufReader::new(file))
        };
        Ok(Lines { path, line: 0, reader, text: String::new() })
    }

    fn next(&mut self) -> Result<bool, PlacementError> {
        self.text.clear();
        self.line += 1;
        let read = self.reader.read_line(&mut self.text);
        read.map(|read| read > 0).map_err(|source| PlacementError::Read { path: self.path.clone(), source })
    }

    fn fields<const N: usize>(&self) -> Result<[&str; N], PlacementError> {
        let mut fields = [""; N];
        let mut found = 0;
        for field in self.text.trim_end().split(',') {
            if found < N {
                fields[found] = field;
            }
            found += 1;
        }
        if found == N { Ok(fields) } else { Err(self.bad("wrong number of fields")) }
    }

    fn bad(&self, what: &'static str) -> PlacementError {
        PlacementError::Line { path: self.path.clone(), line: self.line, what }
    }

    fn number<T: std::str::FromStr>(&self, field: &str) -> Result<T, PlacementError> {
        field.parse().map_err(|_| self.bad("not a number"))
    }

    fn load(&self, resource: usize, field: &str) -> Result<i64, PlacementError> {
        fixed_point(resource, self.number(field)?).ok_or_else(|| self.bad("a figure is out of range"))
    }

    fn refused(&self, source: ClusterError) -> PlacementError {
        PlacementError::Cluster { path: self.path.clone(), line: self.line, source }
    }
}

struct Row {
    key: (u32, i32),
    broker: u32,
    position: usize,
    leads: bool,
    load: Loads,
    leader_cpu: i64,
    leader_out: i64,
}

/// Reads the cluster of a folder.
///
/// # Errors
/// The first thing that is wrong with a file.
pub fn read_cluster(folder: &Path) -> Result<Named, PlacementError> {
    let (brokers, broker_ids) = read_brokers(folder)?;
    let ordinals: BTreeMap<i32, u32> =
        broker_ids.iter().zip(0..).map(|(id, ordinal)| (*id, ordinal)).collect();
    let zipped = folder.join("replicas.csv.gz");
    let path = if zipped.exists() { zipped } else { folder.join("replicas.csv") };
    let mut lines = Lines::open(path)?;
    lines.next()?;
    let mut topics: Vec<String> = Vec::new();
    let mut topic_numbers: BTreeMap<String, u32> = BTreeMap::new();
    let mut rows: Vec<Row> = Vec::new();
    while lines.next()? {
        let [topic, partition, position, broker, leads, cpu, nw_in, nw_out, disk, fcpu, fout] =
            lines.fields()?;
        let number = match topic_numbers.get(topic) {
            Some(number) => *number,
            None => {
                let number = topics.len() as u32;
                topics.push(topic.to_owned());
                topic_numbers.insert(topic.to_owned(), number);
                number
            }
        };
        let broker = *ordinals.get(&lines.number(broker)?).ok_or_else(|| lines.bad("unknown broker"))?;
        let load = [lines.load(0, fcpu)?, lines.load(1, nw_in)?, lines.load(2, fout)?, lines.load(3, disk)?];
        rows.push(Row {
            key: (number, lines.number(partition)?),
            broker,
            position: lines.number(position)?,
            leads: leads == "1",
            load,
            leader_cpu: (lines.load(0, cpu)? - load[0]).max(0),
            leader_out: (lines.load(2, nw_out)? - load[2]).max(0),
        });
    }
    let mut builder = Cluster::builder(topics.len() as u32);
    for broker in &brokers {
        builder.add_broker(broker).map_err(|source| lines.refused(source))?;
    }
    let mut partitions = Vec::new();
    lines.line = 1;
    let mut seen = BTreeSet::new();
    for group in rows.chunk_by(|one, other| one.key == other.key) {
        lines.line += group.len();
        if group.iter().enumerate().any(|(position, row)| row.position != position) {
            return Err(lines.bad("the positions of a partition are not 0, 1, 2 and so on"));
        }
        if !seen.insert(group[0].key) {
            return Err(lines.bad("the partition was named before: its lines stand together"));
        }
        let mut leading = group.iter().filter(|row| row.leads);
        let (Some(leader), None) = (leading.next(), leading.next()) else {
            return Err(lines.bad("a partition has no leader, or several"));
        };
        let leader = leader.position;
        let partition = Partition {
            topic: group[0].key.0,
            replicas: group.iter().map(|row| Replica { broker: row.broker, load: row.load }).collect(),
            leader: leader as u32,
            leader_cpu: group[leader].leader_cpu,
            leader_network_out: group[leader].leader_out,
            frozen: false,
        };
        builder.add_partition(&partition).map_err(|source| lines.refused(source))?;
        partitions.push(group[0].key.1);
    }
    Ok(Named { cluster: builder.build(), broker_ids, topics, partitions })
}

fn read_brokers(folder: &Path) -> Result<(Vec<Broker>, Vec<i32>), PlacementError> {
    let mut lines = Lines::open(folder.join("brokers.csv"))?;
    let mut racks: BTreeMap<String, u32> = BTreeMap::new();
    let (mut brokers, mut ids) = (Vec::new(), Vec::new());
    lines.next()?;
    while lines.next()? {
        let [id, rack, state, cpu, nw_in, nw_out, disk] = lines.fields()?;
        let next = racks.len() as u32;
        let alive = match state {
            "ALIVE" => true,
            "DEAD" => false,
            _ => return Err(lines.bad("the state is neither ALIVE nor DEAD")),
        };
        brokers.push(Broker {
            rack: *racks.entry(rack.to_owned()).or_insert(next),
            set: None,
            capacity: [
                lines.load(0, cpu)?,
                lines.load(1, nw_in)?,
                lines.load(2, nw_out)?,
                lines.load(3, disk)?,
            ],
            alive,
            takes_replicas: alive,
            takes_leadership: alive,
            mark: Mark::None,
        });
        let id = lines.number(id)?;
        if ids.contains(&id) {
            return Err(lines.bad("the broker was named before"));
        }
        ids.push(id);
    }
    Ok((brokers, ids))
}
