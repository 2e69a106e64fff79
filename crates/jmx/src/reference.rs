//! References to remote objects, and the hashes by which their methods are called.

use crate::Error;
use crate::serial::{Annotation, Content, Graph, Reader, Value};

/// Which remote object of a JVM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct ObjId {
    pub(crate) number: i64,
    pub(crate) space: Uid,
}

/// A number that no other has that a JVM has ever made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Uid {
    pub(crate) unique: i32,
    pub(crate) time: i64,
    pub(crate) count: i16,
}

impl ObjId {
    /// The registry.
    pub(crate) const REGISTRY: ObjId = ObjId { number: 0, space: Uid { unique: 0, time: 0, count: 0 } };
    /// The distributed garbage collector, which every JVM exports at each of its ports.
    pub(crate) const DGC: ObjId = ObjId { number: 2, ..ObjId::REGISTRY };

    pub(crate) fn to_bytes(self) -> [u8; 22] {
        let mut bytes = [0; 22];
        bytes[..8].copy_from_slice(&self.number.to_be_bytes());
        bytes[8..].copy_from_slice(&self.space.to_bytes());
        bytes
    }

    fn read(annotation: &mut Annotation<'_>) -> Option<ObjId> {
        let number = annotation.long()?;
        Some(ObjId { number, space: Uid::from_bytes(annotation.bytes()?) })
    }
}

impl Uid {
    pub(crate) fn to_bytes(self) -> [u8; 14] {
        let mut bytes = [0; 14];
        bytes[..4].copy_from_slice(&self.unique.to_be_bytes());
        bytes[4..12].copy_from_slice(&self.time.to_be_bytes());
        bytes[12..].copy_from_slice(&self.count.to_be_bytes());
        bytes
    }

    pub(crate) fn from_bytes(bytes: [u8; 14]) -> Uid {
        let [a, b, c, d, rest @ ..] = bytes;
        let [e, f, g, h, i, j, k, l, m, n] = rest;
        Uid {
            unique: i32::from_be_bytes([a, b, c, d]),
            time: i64::from_be_bytes([e, f, g, h, i, j, k, l]),
            count: i16::from_be_bytes([m, n]),
        }
    }
}

/// Where a remote object is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RemoteRef {
    /// The host as the JVM names itself: often wrong (127.0.0.1 in containers, inner addresses behind a translation).
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) id: ObjId,
    /// The class of the sockets by which clients must connect, if not plain ones.
    pub(crate) socket_factory: Option<String>,
}

/// The sockets of TLS.
pub(crate) const TLS_SOCKET_FACTORY: &str = "javax.rmi.ssl.SslRMIClientSocketFactory";

impl RemoteRef {
    /// The reference in a stub: what `java.rmi.server.RemoteObject` writes.
    pub(crate) fn of_stub(graph: &Graph, stub: Value) -> Option<RemoteRef> {
        let object = graph.object(stub)?;
        // A dynamic proxy keeps it in its handler.
        let object = match graph.field(object, "h") {
            Some(handler) => graph.object(handler)?,
            None => object,
        };
        let mut annotation = graph.annotation(object, "java.rmi.server.RemoteObject")?;
        let kind = annotation.utf()?;
        let has_factory = match kind.as_str() {
            "UnicastRef" => false,
            "UnicastRef2" => annotation.bytes::<1>()? == [1],
            _ => return None,
        };
        let host = annotation.utf()?;
        let port = u16::try_from(annotation.int()?).ok()?;
        let socket_factory = match has_factory {
            true => {
                let factory = annotation.value()?;
                Some(graph.class_name(graph.object(factory)?.class).to_owned())
            }
            false => None,
        };
        Some(RemoteRef { host, port, id: ObjId::read(&mut annotation)?, socket_factory })
    }

    /// The reference in a serialized stub.
    ///
    /// # Errors
    /// [`Error::Serial`] and [`Error::Unexpected`].
    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<RemoteRef, Error> {
        let doing = "reading the stub in an address";
        let as_error = |source| Error::Serial { doing, source };
        let mut reader = Reader::new(bytes, crate::serial::Limits::default()).map_err(as_error)?;
        match reader.content().map_err(as_error)? {
            Content::Value(stub) => RemoteRef::of_stub(reader.graph(), stub),
            Content::Block(_) => None,
        }
        .ok_or_else(|| Error::Unexpected { doing, found: "no reference to a remote object".to_owned() })
    }
}

/// A method of a remote interface.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Method {
    /// Its number in a skeleton of the old kind; -1 in all others.
    pub(crate) operation: i32,
    /// The first eight bytes, the lowest first, of the SHA-1 of its name and signature; of old skeletons the hash of the
    /// whole interface.
    pub(crate) hash: i64,
    /// Whether it returns something.
    pub(crate) returns: bool,
    /// What it does, for errors.
    pub(crate) doing: &'static str,
}

const fn method(hash: i64, doing: &'static str) -> Method {
    Method { operation: -1, hash, returns: true, doing }
}

impl Method {
    pub(crate) const LOOKUP: Method = Method {
        operation: 2,
        hash: 4_905_912_898_345_647_071,
        returns: true,
        doing: "looking up the JMX server",
    };
    pub(crate) const DIRTY: Method =
        Method { operation: 1, hash: -669_196_253_586_618_813, returns: true, doing: "taking a lease" };
    pub(crate) const CLEAN: Method = Method {
        operation: 0,
        hash: -669_196_253_586_618_813,
        returns: false,
        doing: "giving the lease back",
    };
    pub(crate) const NEW_CLIENT: Method = method(-1_089_742_558_549_201_240, "logging in");
    pub(crate) const CLOSE: Method =
        Method { returns: false, ..method(-4_742_752_445_160_157_748, "closing the session") };
    pub(crate) const CONNECTION_ID: Method = method(-67_907_180_346_059_933, "reading the session's name");
    pub(crate) const QUERY_NAMES: Method = method(9_152_567_528_369_059_802, "listing MBeans");
    pub(crate) const GET_ATTRIBUTE: Method = method(-1_089_783_104_982_388_203, "reading an attribute");
    pub(crate) const GET_ATTRIBUTES: Method = method(6_285_293_806_596_348_999, "reading attributes");
    pub(crate) const IS_REGISTERED: Method = method(8_325_683_335_228_268_564, "looking for an MBean");
    pub(crate) const MBEAN_COUNT: Method = method(-2_042_362_057_335_820_635, "counting MBeans");
    pub(crate) const MBEAN_INFO: Method =
        method(-7_404_813_916_326_233_354, "reading the description of an MBean");
    pub(crate) const DEFAULT_DOMAIN: Method = method(6_047_668_923_998_658_472, "reading the default domain");
    pub(crate) const DOMAINS: Method = method(-6_662_314_179_953_625_551, "listing domains");
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As RMI defines it: SHA-1 over name and signature, with a length of two bytes before.
    fn hash(name_and_signature: &str) -> i64 {
        let mut text = (name_and_signature.len() as u16).to_be_bytes().to_vec();
        text.extend(name_and_signature.bytes());
        let digest = ring::digest::digest(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY, &text);
        i64::from_le_bytes(digest.as_ref()[..8].try_into().unwrap())
    }

    #[test]
    fn hashes_are_those_of_the_methods() {
        let name = "Ljavax/management/ObjectName;";
        let subject = "Ljavax/security/auth/Subject;";
        for (method, signature) in [
            (
                Method::NEW_CLIENT,
                "newClient(Ljava/lang/Object;)Ljavax/management/remote/rmi/RMIConnection;".to_owned(),
            ),
            (Method::CLOSE, "close()V".to_owned()),
            (Method::CONNECTION_ID, "getConnectionId()Ljava/lang/String;".to_owned()),
            (
                Method::QUERY_NAMES,
                format!("queryNames({name}Ljava/rmi/MarshalledObject;{subject})Ljava/util/Set;"),
            ),
            (
                Method::GET_ATTRIBUTE,
                format!("getAttribute({name}Ljava/lang/String;{subject})Ljava/lang/Object;"),
            ),
            (
                Method::GET_ATTRIBUTES,
                format!("getAttributes({name}[Ljava/lang/String;{subject})Ljavax/management/AttributeList;"),
            ),
            (Method::IS_REGISTERED, format!("isRegistered({name}{subject})Z")),
            (Method::MBEAN_COUNT, format!("getMBeanCount({subject})Ljava/lang/Integer;")),
            (Method::MBEAN_INFO, format!("getMBeanInfo({name}{subject})Ljavax/management/MBeanInfo;")),
            (Method::DEFAULT_DOMAIN, format!("getDefaultDomain({subject})Ljava/lang/String;")),
            (Method::DOMAINS, format!("getDomains({subject})[Ljava/lang/String;")),
        ] {
            assert_eq!(method.hash, hash(&signature), "{signature}");
            assert_eq!(method.operation, -1);
        }
    }

    #[test]
    fn numbers_of_objects_are_read_as_they_are_written() {
        let id = ObjId { number: -5, space: Uid { unique: 7, time: -9, count: 11 } };
        let items = [Content::Block(id.to_bytes().to_vec())];
        assert_eq!(ObjId::read(&mut Annotation::new(&items)), Some(id));
    }

    #[test]
    fn stubs_are_read_with_the_sockets_that_they_want() {
        // A stub whose annotation is: kind of reference, [whether there is a socket factory], host, port, [the
        // factory], number, end.
        let stub = |kind: &str, factory: &str| {
            let hex = |text: &str| text.bytes().map(|byte| format!("{byte:02x}")).collect::<String>();
            let class = |name: &str, flags: &str, superclass: &str| {
                format!("72{:04x}{}0000000000000001{flags}000078{superclass}", name.len(), hex(name))
            };
            let object = class("java.rmi.server.RemoteObject", "03", "70");
            let text = |text: &str| format!("{:04x}{}", text.len(), hex(text));
            let before = match kind {
                "UnicastRef2" => format!("{}{:02x}", text(kind), u8::from(!factory.is_empty())),
                _ => text(kind),
            };
            let before = format!("{before}{}00001234", text("h"));
            let factory = match factory {
                "" => String::new(),
                name => format!("73{}", class(name, "02", "70")),
            };
            let after = format!("77 16 {}", "00".repeat(21) + "07");
            let block = format!("77{:02x}{before}", before.len() / 2);
            let hex = format!("aced000573{}{block}{factory}{after}78", class("S", "02", &object));
            let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
            let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
            digits.chunks(2).map(byte).collect::<Vec<u8>>()
        };
        for (kind, factory, expected) in
            [("UnicastRef", "", None), ("UnicastRef2", "", None), ("UnicastRef2", "a.B", Some("a.B"))]
        {
            let reference = RemoteRef::from_bytes(&stub(kind, factory)).unwrap();
            assert_eq!((reference.host.as_str(), reference.port), ("h", 0x1234));
            assert_eq!(reference.id.space.count, 7);
            assert_eq!(reference.socket_factory.as_deref(), expected);
        }
        assert!(RemoteRef::from_bytes(&stub("ActivatableRef", "")).is_err());
    }
}
