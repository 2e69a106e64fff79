import java.io.Externalizable;
import java.io.IOException;
import java.io.ObjectInput;
import java.io.ObjectOutput;
import java.io.Serializable;
import java.lang.management.ManagementFactory;
import java.lang.reflect.InvocationHandler;
import java.lang.reflect.Method;
import java.lang.reflect.Proxy;
import java.math.BigInteger;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyStore;
import java.util.*;
import java.util.concurrent.*;
import java.util.concurrent.atomic.*;
import javax.management.*;
import javax.management.openmbean.*;

/**
 * What the tests talk to: MBeans with attributes of all kinds. Says "ready" and ends when its standard input does, so
 * that it never outlives the test.
 */
public class Beans {
    interface Source {
        Object get() throws Exception;
    }

    static final Map<String, Source> VALUES = new TreeMap<>();

    public static void main(String[] args) throws Exception {
        if (args.length > 0 && args[0].equals("export")) {
            export(args[1], args[2], args[3]);
            return;
        }
        MBeanServer server = ManagementFactory.getPlatformMBeanServer();
        primitives();
        collections();
        objects();
        troubles();
        server.registerMBean(new Bean(VALUES, Map.of()), new ObjectName("test:type=Values"));
        for (String topic : List.of("orders", "app.events.v1")) {
            for (String name : List.of("BytesInPerSec", "BytesOutPerSec")) {
                Map<String, Source> meter = new TreeMap<>();
                meter.put("Count", () -> (long) topic.length() * 1000);
                meter.put("OneMinuteRate", () -> 1.5);
                meter.put("RateUnit", () -> TimeUnit.SECONDS);
                meter.put("EventType", () -> "bytes");
                server.registerMBean(new Bean(meter, Map.of("Count", "long")), new ObjectName(
                    "kafka.server:type=BrokerTopicMetrics,name=" + name + ",topic=" + topic));
            }
        }
        int many = args.length > 1 && args[0].equals("many") ? Integer.parseInt(args[1]) : 0;
        for (int i = 0; i < many; i++) {
            int number = i;
            server.registerMBean(new Bean(Map.of("Value", () -> number), Map.of()), new ObjectName("many:name=" + i));
        }
        System.out.println("ready");
        while (System.in.read() >= 0) { }
        System.exit(0);
    }

    static void primitives() {
        VALUES.put("Null", () -> null);
        VALUES.put("Boolean", () -> true);
        VALUES.put("Byte", () -> (byte) -1);
        VALUES.put("Short", () -> (short) -2);
        VALUES.put("Integer", () -> -3);
        VALUES.put("Long", () -> 1L << 60);
        VALUES.put("Float", () -> 1.5f);
        VALUES.put("Double", () -> Double.NaN);
        VALUES.put("Character", () -> 'ü');
        VALUES.put("String", () -> "a\0ü€😀");
        VALUES.put("LongString", () -> "x".repeat(70_000));
        VALUES.put("Enum", () -> TimeUnit.SECONDS);
        // A constant with a body is of a class of its own.
        VALUES.put("EnumWithBody", () -> Odd.ONE);
        VALUES.put("Date", () -> new Date(1234567890123L));
        VALUES.put("Timestamp", () -> new java.sql.Timestamp(1234567890123L));
        VALUES.put("AtomicLong", () -> new AtomicLong(7));
        VALUES.put("AtomicInteger", () -> new AtomicInteger(8));
        VALUES.put("AtomicBoolean", () -> new AtomicBoolean(true));
        VALUES.put("BigInteger", () -> new BigInteger("123456789012345678901234567890"));
        VALUES.put("Class", () -> String.class);
        VALUES.put("ObjectName", () -> new ObjectName("d:type=a,path=\"/b,c\""));
    }

    static void collections() {
        VALUES.put("Bytes", () -> new byte[] {1, -1});
        VALUES.put("Longs", () -> new long[] {1, 2});
        VALUES.put("Booleans", () -> new boolean[] {true, false});
        VALUES.put("Strings", () -> new String[][] {{"a", "b"}, {}, null});
        VALUES.put("ArrayList", () -> new ArrayList<>(List.of(1, 2)));
        VALUES.put("LinkedList", () -> new LinkedList<>(List.of(1, 2)));
        VALUES.put("ArrayDeque", () -> new ArrayDeque<>(List.of(1, 2)));
        VALUES.put("Vector", () -> new Vector<>(List.of(1, 2)));
        VALUES.put("AsList", () -> Arrays.asList(1, 2));
        VALUES.put("ListOf", () -> List.of(1, 2));
        VALUES.put("CopyOnWrite", () -> new CopyOnWriteArrayList<>(List.of(1, 2)));
        VALUES.put("CopyOnWriteSet", () -> new CopyOnWriteArraySet<>(List.of(1, 2)));
        VALUES.put("UnmodifiableList", () -> Collections.unmodifiableList(new ArrayList<>(List.of(1, 2))));
        VALUES.put("SynchronizedList", () -> Collections.synchronizedList(new ArrayList<>(List.of(1, 2))));
        VALUES.put("Singleton", () -> Collections.singletonList(1));
        VALUES.put("EmptyList", () -> Collections.emptyList());
        VALUES.put("HashSet", () -> new HashSet<>(List.of(1)));
        VALUES.put("LinkedHashSet", () -> new LinkedHashSet<>(List.of(2, 1)));
        VALUES.put("TreeSet", () -> new TreeSet<>(List.of(2, 1)));
        VALUES.put("KeySet", () -> {
            Set<Integer> set = Collections.newSetFromMap(new ConcurrentHashMap<>());
            set.add(1);
            return set;
        });
        VALUES.put("EnumSet", () -> EnumSet.of(TimeUnit.DAYS));
        VALUES.put("HashMap", () -> new HashMap<>(Map.of("a", 1)));
        VALUES.put("LinkedHashMap", () -> new LinkedHashMap<>(Map.of("a", 1)));
        VALUES.put("TreeMap", () -> new TreeMap<>(Map.of("b", 2, "a", 1)));
        VALUES.put("ConcurrentHashMap", () -> new ConcurrentHashMap<>(Map.of("a", 1)));
        VALUES.put("ConcurrentSkipListMap", () -> new ConcurrentSkipListMap<>(Map.of("a", 1)));
        VALUES.put("Hashtable", () -> new Hashtable<>(Map.of("a", 1)));
        VALUES.put("Properties", () -> { Properties p = new Properties(); p.put("a", "1"); return p; });
        VALUES.put("EnumMap", () -> new EnumMap<>(Map.of(TimeUnit.DAYS, 1)));
        VALUES.put("MapOf", () -> Map.of("a", 1));
        VALUES.put("UnmodifiableMap", () -> Collections.unmodifiableMap(new HashMap<>(Map.of("a", 1))));
        VALUES.put("SingletonMap", () -> Collections.singletonMap("a", 1));
        VALUES.put("ObjectNames", () -> new HashSet<>(Set.of(new ObjectName("d:a=b"))));
    }

    static void objects() throws Exception {
        CompositeType point = new CompositeType("Point", "a point", new String[] {"x", "y"},
            new String[] {"to the right", "up"}, new OpenType<?>[] {SimpleType.INTEGER, SimpleType.STRING});
        CompositeData one = new CompositeDataSupport(point, new String[] {"x", "y"}, new Object[] {1, "one"});
        TabularType points = new TabularType("Points", "points", point, new String[] {"x"});
        TabularDataSupport table = new TabularDataSupport(points);
        table.put(one);
        VALUES.put("Composite", () -> one);
        VALUES.put("Tabular", () -> table);
        VALUES.put("Object", () -> new Derived());
        VALUES.put("Proxy", () -> Proxy.newProxyInstance(Beans.class.getClassLoader(),
            new Class<?>[] {Comparable.class, Serializable.class}, new Handler()));
        VALUES.put("Throwable", () -> new IllegalStateException("bad", new IOException("worse")));
        VALUES.put("Itself", () -> { Object[] itself = new Object[1]; itself[0] = itself; return itself; });
        VALUES.put("Twice", () -> { String s = new String("s"); return new Object[] {s, s}; });
    }

    static void troubles() {
        VALUES.put("Throws", () -> { throw new IllegalStateException("no value today"); });
        VALUES.put("Unserializable", () -> new Object[] {1, new Thread("x")});
        VALUES.put("Externalizable", () -> new Outside());
        VALUES.put("Slow", () -> { Thread.sleep(3000); return 1; });
        VALUES.put("Huge", () -> new byte[4 << 20]);
    }

    enum Odd {
        ONE {
            @Override public String toString() { return "one"; }
        }
    }

    static class Base implements Serializable {
        private static final long serialVersionUID = 1;
        int x = 1;
        String name = "base";

        private void writeObject(java.io.ObjectOutputStream out) throws IOException {
            out.defaultWriteObject();
            out.writeInt(77);
            out.writeObject("extra");
        }
    }

    static class Derived extends Base {
        private static final long serialVersionUID = 1;
        int x = 2;
        double[] more = {0.5};
    }

    public static class Outside implements Externalizable {
        private static final long serialVersionUID = 1;

        @Override public void writeExternal(ObjectOutput out) throws IOException {
            out.writeInt(5);
            out.writeObject("out");
        }

        @Override public void readExternal(ObjectInput in) { }
    }

    static class Handler implements InvocationHandler, Serializable {
        private static final long serialVersionUID = 1;
        int state = 9;

        @Override public Object invoke(Object proxy, Method method, Object[] args) {
            return method.getName().equals("toString") ? "proxy" : method.getName().equals("hashCode") ? (Object) 1 : false;
        }
    }

    /** An MBean of attributes that are computed when they are asked for. */
    static class Bean implements DynamicMBean {
        private final Map<String, Source> values;
        private final Map<String, String> classes;

        Bean(Map<String, Source> values, Map<String, String> classes) {
            this.values = values;
            this.classes = classes;
        }

        @Override public Object getAttribute(String name) throws AttributeNotFoundException, MBeanException {
            Source source = values.get(name);
            if (source == null) {
                throw new AttributeNotFoundException("no " + name);
            }
            try {
                return source.get();
            } catch (Exception e) {
                throw new MBeanException(e);
            }
        }

        @Override public AttributeList getAttributes(String[] names) {
            AttributeList list = new AttributeList();
            for (String name : names) {
                try {
                    list.add(new Attribute(name, getAttribute(name)));
                } catch (JMException e) {
                    // Those that fail are left out: that is the contract.
                }
            }
            return list;
        }

        @Override public void setAttribute(Attribute attribute) { }

        @Override public AttributeList setAttributes(AttributeList attributes) {
            return new AttributeList();
        }

        @Override public Object invoke(String action, Object[] params, String[] signature) {
            return null;
        }

        @Override public MBeanInfo getMBeanInfo() {
            MBeanAttributeInfo[] infos = values.keySet().stream()
                .map(name -> new MBeanAttributeInfo(name, classes.getOrDefault(name, "java.lang.Object"),
                    "the attribute " + name, true, false, false))
                .toArray(MBeanAttributeInfo[]::new);
            return new MBeanInfo(Bean.class.getName(), "for tests", infos, null, null, null);
        }
    }

    /** Prints certificate and key of a key store in PEM. */
    static void export(String file, String password, String alias) throws Exception {
        KeyStore store = KeyStore.getInstance(Path.of(file).toFile(), password.toCharArray());
        print("CERTIFICATE", store.getCertificate(alias).getEncoded());
        print("PRIVATE KEY", store.getKey(alias, password.toCharArray()).getEncoded());
    }

    static void print(String what, byte[] der) {
        System.out.println("-----BEGIN " + what + "-----");
        System.out.println(Base64.getMimeEncoder(64, new byte[] {'\n'}).encodeToString(der));
        System.out.println("-----END " + what + "-----");
    }
}
