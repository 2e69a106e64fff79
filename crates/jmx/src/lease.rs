//! Leases of RMI's distributed garbage collector: how the JVM knows that somebody still uses the session.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::Error;
use crate::jrmp::Connection;
use crate::reference::{Method, ObjId, Uid};
use crate::serial::{ClassSpec, Writer};

/// What we ask for; the JVM gives what its property `java.rmi.dgc.leaseValue` says, ten minutes by default.
const WANTED: Duration = Duration::from_secs(600);
/// The shortest time between two renewals, whatever the JVM says.
const SHORTEST: Duration = Duration::from_millis(500);

const SERIALIZABLE: u8 = 2;
const OBJ_ID: ClassSpec = ClassSpec {
    name: "java.rmi.server.ObjID",
    version: 0xa75e_fa12_8ddc_e55c,
    flags: SERIALIZABLE,
    fields: &[(b'J', "objNum", None), (b'L', "space", Some("Ljava/rmi/server/UID;"))],
};
const OBJ_IDS: ClassSpec = ClassSpec {
    name: "[Ljava.rmi.server.ObjID;",
    version: 0x8713_00b8_d02c_647e,
    flags: SERIALIZABLE,
    fields: &[],
};
const UID: ClassSpec = ClassSpec {
    name: "java.rmi.server.UID",
    version: 0x0f12_700d_bf36_4f12,
    flags: SERIALIZABLE,
    fields: &[(b'S', "count", None), (b'J', "time", None), (b'I', "unique", None)],
};
const LEASE: ClassSpec = ClassSpec {
    name: "java.rmi.dgc.Lease",
    version: 0xb0b5_e266_0c4a_dc34,
    flags: SERIALIZABLE,
    fields: &[(b'J', "value", None), (b'L', "vmid", Some("Ljava/rmi/dgc/VMID;"))],
};
const VMID: ClassSpec = ClassSpec {
    name: "java.rmi.dgc.VMID",
    version: 0xf886_5baf_a4a5_6db6,
    flags: SERIALIZABLE,
    fields: &[(b'[', "addr", Some("[B")), (b'L', "uid", Some("Ljava/rmi/server/UID;"))],
};
const BYTES: ClassSpec =
    ClassSpec { name: "[B", version: 0xacf3_17f8_0608_54e0, flags: SERIALIZABLE, fields: &[] };

/// Our hold on one remote object.
#[derive(Debug)]
pub(crate) struct Lease {
    object: ObjId,
    holder: Holder,
    /// Each message of a holder about an object has a higher number than the one before, so that a late one does no
    /// harm.
    sequence: i64,
    renew_at: Instant,
}

/// Who holds leases: what a JVM calls its VMID.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Holder {
    address: [u8; 8],
    uid: Uid,
}

impl Holder {
    /// The one holder of this process, as each JVM is one. The other side keeps an entry for every holder until its
    /// lease is over, ten minutes, whatever is given back before: a holder for each session would leave one behind with
    /// each.
    fn of_this_process() -> Holder {
        static HOLDER: OnceLock<Holder> = OnceLock::new();
        *HOLDER.get_or_init(Holder::new)
    }

    fn new() -> Holder {
        // The hasher's keys are random, and so is what it makes of nothing.
        let random = || RandomState::new().build_hasher().finish();
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let time = i64::try_from(since.as_millis()).unwrap_or(i64::MAX);
        let unique = i32::from_be_bytes(std::process::id().to_be_bytes());
        Holder { address: random().to_be_bytes(), uid: Uid { unique, time, count: random() as i16 } }
    }
}

impl Lease {
    /// Takes a lease of `object`.
    pub(crate) fn take(connection: &mut Connection, object: ObjId) -> Result<Lease, Error> {
        let mut lease =
            Lease { object, holder: Holder::of_this_process(), sequence: 0, renew_at: Instant::now() };
        lease.renew(connection)?;
        Ok(lease)
    }

    /// Renews the lease if half of it is over.
    pub(crate) fn keep(&mut self, connection: &mut Connection) -> Result<(), Error> {
        if Instant::now() < self.renew_at { Ok(()) } else { self.renew(connection) }
    }

    fn renew(&mut self, connection: &mut Connection) -> Result<(), Error> {
        self.sequence += 1;
        // If the answer is an exception, the next try comes later too.
        self.renew_at = Instant::now() + SHORTEST;
        let reply = connection.call(ObjId::DGC, Method::DIRTY, |writer| self.write_dirty(writer))?;
        let granted = reply.graph.object(reply.value).and_then(|lease| reply.graph.field(lease, "value"));
        let Some(crate::serial::Value::Long(milliseconds)) = granted else {
            let found = "no lease".to_owned();
            return Err(Error::Unexpected { doing: Method::DIRTY.doing, found });
        };
        // No lease is for more than a day: the arithmetic on times stays far from its ends.
        let granted = Duration::from_millis(u64::try_from(milliseconds).unwrap_or(0).min(86_400_000));
        self.renew_at = Instant::now() + (granted / 2).max(SHORTEST);
        Ok(())
    }

    /// Gives the lease back.
    pub(crate) fn give_back(mut self, connection: &mut Connection) -> Result<(), Error> {
        self.sequence += 1;
        connection.call(ObjId::DGC, Method::CLEAN, |writer| self.write_clean(writer)).map(drop)
    }

    /// `DGC.dirty(ObjID[] ids, long sequenceNum, Lease lease)`
    fn write_dirty(&self, writer: &mut Writer) {
        self.write_objects(writer);
        writer.block(&self.sequence.to_be_bytes());
        writer.object(&LEASE);
        writer.raw(&(WANTED.as_millis() as i64).to_be_bytes());
        self.holder.write(writer);
    }

    /// `DGC.clean(ObjID[] ids, long sequenceNum, VMID vmid, boolean strong)`
    fn write_clean(&self, writer: &mut Writer) {
        self.write_objects(writer);
        writer.block(&self.sequence.to_be_bytes());
        self.holder.write(writer);
        writer.block(&[0]);
    }

    fn write_objects(&self, writer: &mut Writer) {
        writer.array(&OBJ_IDS, 1);
        writer.object(&OBJ_ID);
        writer.raw(&self.object.number.to_be_bytes());
        write_uid(writer, self.object.space);
    }
}

impl Holder {
    fn write(self, writer: &mut Writer) {
        writer.object(&VMID);
        writer.array(&BYTES, self.address.len() as u32);
        writer.raw(&self.address);
        write_uid(writer, self.uid);
    }
}

fn write_uid(writer: &mut Writer, uid: Uid) {
    writer.object(&UID);
    writer.raw(&uid.count.to_be_bytes());
    writer.raw(&uid.time.to_be_bytes());
    writer.raw(&uid.unique.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serial::{Content, Limits, Reader, Value};

    fn lease() -> Lease {
        let object = ObjId { number: 5, space: Uid { unique: 7, time: 9, count: 11 } };
        let holder = Holder { address: [1; 8], uid: Uid { unique: 2, time: 3, count: 4 } };
        Lease { object, holder, sequence: 6, renew_at: Instant::now() }
    }

    #[test]
    fn what_is_written_is_what_java_reads() {
        let mut writer = Writer::new();
        lease().write_dirty(&mut writer);
        let bytes = writer.into_bytes();
        let mut reader = Reader::new(&bytes[..], Limits::default()).unwrap();
        let ids = reader.value().unwrap();
        assert_eq!(reader.content().unwrap(), Content::Block(6_i64.to_be_bytes().to_vec()));
        let lease = reader.value().unwrap();
        let graph = reader.into_graph();
        let id = graph.object(graph.elements(ids).unwrap()[0]).unwrap();
        assert_eq!(graph.field(id, "objNum"), Some(Value::Long(5)));
        let space = graph.object(graph.field(id, "space").unwrap()).unwrap();
        assert_eq!(graph.field(space, "unique"), Some(Value::Int(7)));
        assert_eq!(graph.field(space, "time"), Some(Value::Long(9)));
        assert_eq!(graph.field(space, "count"), Some(Value::Short(11)));
        let lease = graph.object(lease).unwrap();
        assert_eq!(graph.field(lease, "value"), Some(Value::Long(600_000)));
        let holder = graph.object(graph.field(lease, "vmid").unwrap()).unwrap();
        let uid = graph.object(graph.field(holder, "uid").unwrap()).unwrap();
        assert_eq!(graph.field(uid, "time"), Some(Value::Long(3)));
        let signature = &graph.class(holder.class).unwrap().fields[1].signature;
        assert_eq!(signature.as_deref(), Some("Ljava/rmi/server/UID;"), "written as a reference");
    }

    #[test]
    fn a_process_is_one_holder_unlike_any_other() {
        assert_eq!(Holder::of_this_process(), Holder::of_this_process());
        assert_ne!(Holder::new().address, Holder::new().address);
    }
}
