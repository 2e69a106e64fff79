import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import org.apache.avro.Schema;
import org.apache.avro.generic.GenericData;
import org.apache.avro.generic.GenericDatumReader;
import org.apache.avro.generic.GenericDatumWriter;
import org.apache.avro.generic.GenericRecord;
import org.apache.avro.generic.GenericRecordBuilder;
import org.apache.avro.io.BinaryEncoder;
import org.apache.avro.io.DecoderFactory;
import org.apache.avro.io.EncoderFactory;

/** Reads and writes BrokerStats as the original DoctorKafka does: raw Avro, by its own schema and no other. */
public class OriginalAvro {
    public static void main(String[] args) throws IOException {
        Schema schema = new Schema.Parser().parse(Files.readString(Path.of(args[0])));
        switch (args[1]) {
            case "read" -> {
                GenericRecord read = new GenericDatumReader<GenericRecord>(schema)
                    .read(null, DecoderFactory.get().binaryDecoder(Files.readAllBytes(Path.of(args[2])), null));
                System.out.println(read);
                // What it has read, as it would write it.
                write(schema, read, Path.of(args[3]));
            }
            case "write" -> write(schema, made(schema), Path.of(args[2]));
            default -> throw new IllegalArgumentException(args[1]);
        }
    }

    private static void write(Schema schema, GenericRecord record, Path file) throws IOException {
        ByteArrayOutputStream bytes = new ByteArrayOutputStream();
        BinaryEncoder encoder = EncoderFactory.get().binaryEncoder(bytes, null);
        new GenericDatumWriter<GenericRecord>(schema).write(record, encoder);
        encoder.flush();
        Files.write(file, bytes.toByteArray());
    }

    /** A report with something of each kind in it. */
    private static GenericRecord made(Schema schema) {
        Schema replica = element(schema, "leaderReplicaStats");
        GenericRecord led = new GenericData.Record(replica);
        for (Schema.Field field : replica.getFields()) {
            switch (field.schema().getType()) {
                case LONG -> led.put(field.name(), 1_000L + field.pos());
                case INT -> led.put(field.name(), 100 + field.pos());
                case DOUBLE -> led.put(field.name(), 0.5);
                case BOOLEAN -> led.put(field.name(), true);
                default -> led.put(field.name(), "orders");
            }
        }
        GenericRecord followed = new GenericData.Record(element(schema, "leaderReplicas"));
        followed.put("topic", "\u00e4rger");
        followed.put("partition", -1);
        Schema reason = schema.getField("failureReason").schema().getTypes().get(1);
        return new GenericRecordBuilder(schema)
            .set("timestamp", 1_500_000_000_000L)
            .set("id", 42)
            .set("name", "b42")
            .set("zkUrl", "zk:2181/kafka")
            .set("hasFailure", false)
            .set("failureReason", new GenericData.EnumSymbol(reason, "KafkaServerProperitiesFailure"))
            .set("cpuUsage", 12.25)
            .set("leadersBytesIn1MinRate", Long.MAX_VALUE)
            .set("topicsBytesOut15MinRate", Map.of("orders", 7L))
            .set("leaderReplicaStats", List.of(led))
            .set("followerReplicas", List.of(followed))
            .build();
    }

    private static Schema element(Schema schema, String field) {
        return schema.getField(field).schema().getTypes().get(1).getElementType();
    }
}
