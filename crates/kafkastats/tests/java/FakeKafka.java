import java.lang.management.ManagementFactory;
import java.util.Map;
import java.util.TreeMap;
import javax.management.*;

/**
 * A JVM with the MBeans of a broker, so that reading them needs no broker. Says "ready" and ends when its standard
 * input does.
 *
 * Arguments: cluster id, broker id, and how many topics there are.
 */
public class FakeKafka {
    public static void main(String[] args) throws Exception {
        String cluster = args[0];
        int topics = Integer.parseInt(args[2]);
        bean("kafka.server:type=KafkaServer,name=ClusterId", Map.of("Value", cluster));
        bean("kafka.server:type=KafkaServer,name=BrokerState", Map.of("Value", (byte) 3));
        bean("kafka.server:type=app-info,id=" + args[1], Map.of("Version", "4.2.1"));
        meter("BytesInPerSec", 1000);
        meter("BytesOutPerSec", 2000);
        meter("MessagesInPerSec", 10);
        meter("ReplicationBytesInPerSec", 30);
        meter("ReplicationBytesOutPerSec", 40);
        for (int i = 0; i < topics; i++) {
            meter("BytesInPerSec,topic=t" + i, i);
            meter("BytesOutPerSec,topic=t" + i, 2L * i);
        }
        bean("kafka.server:type=KafkaRequestHandlerPool,name=RequestHandlerAvgIdlePercent",
            Map.of("Count", 500_000_000L, "OneMinuteRate", 0.75));
        bean("kafka.network:type=SocketServer,name=NetworkProcessorAvgIdlePercent", Map.of("Value", 0.5));
        // A gauge that fails, as gauges of Kafka do at times.
        bean("kafka.network:type=RequestChannel,name=RequestQueueSize", Map.of());
        bean("kafka.server:type=ReplicaManager,name=UnderReplicatedPartitions", Map.of("Value", 4));
        bean("kafka.server:type=ReplicaManager,name=LeaderCount", Map.of("Value", 5));
        bean("kafka.server:type=ReplicaManager,name=PartitionCount", Map.of("Value", 6));
        bean("kafka.log:type=LogManager,name=remainingLogsToRecover,dir=\"/d0\"", Map.of("Value", 7));
        bean("kafka.log:type=LogManager,name=remainingLogsToRecover,dir=\"/d1\"", Map.of("Value", 8));
        System.out.println("ready");
        while (System.in.read() >= 0) { }
        System.exit(0);
    }

    static void meter(String name, long count) throws Exception {
        bean("kafka.server:type=BrokerTopicMetrics,name=" + name, Map.of("Count", count, "OneMinuteRate", 1.5));
    }

    static void bean(String name, Map<String, Object> values) throws Exception {
        ManagementFactory.getPlatformMBeanServer().registerMBean(new Bean(new TreeMap<>(values)), new ObjectName(name));
    }

    static class Bean implements DynamicMBean {
        private final Map<String, Object> values;

        Bean(Map<String, Object> values) {
            this.values = values;
        }

        @Override public Object getAttribute(String name) throws AttributeNotFoundException {
            Object value = values.get(name);
            if (value == null) {
                throw new AttributeNotFoundException(name);
            }
            return value;
        }

        @Override public AttributeList getAttributes(String[] names) {
            AttributeList list = new AttributeList();
            for (String name : names) {
                if (values.containsKey(name)) {
                    list.add(new Attribute(name, values.get(name)));
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
                .map(name -> new MBeanAttributeInfo(name, "java.lang.Object", name, true, false, false))
                .toArray(MBeanAttributeInfo[]::new);
            return new MBeanInfo(Bean.class.getName(), "", infos, null, null, null);
        }
    }
}
