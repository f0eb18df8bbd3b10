package mysqlstore

// table is what a table must have. What it has besides, columns and keys of the user's own, stays.
type table struct {
	name    string
	columns []column
	// keys are the keys that it must have; the first tells its rows apart.
	keys []key
	// redundant are documented keys that it must not have. One of the same name over other columns is not theirs, and stays.
	redundant []key
}

// runStepKey is the unique key of run and step, which the reads name.
const runStepKey = "unique_run_step"

// column is a column as it must be.
type column struct {
	name string
	kind
	// first is the definition with which the column is added, where that of its kind would give the rows that are there a value that is
	// not theirs. fill is the statement that then gives them theirs, if anything does.
	first, fill string
}

// key is a key of a table, its columns joined by commas; "" when it covers parts of columns. A redundant
// key without a name has any.
type key struct {
	name, columns string
	unique        bool
}

// kind is a column's definition, and how information_schema shows it.
type kind struct {
	definition string
	form
}

// form is what information_schema tells of a column. Defaults are not in it: the servers write them differently.
type form struct {
	// typ is COLUMN_TYPE, collation is COLLATION_NAME, "" when it has none.
	typ, collation string
	// null is IS_NULLABLE; auto and onUpdate are what EXTRA has of AUTO_INCREMENT and ON UPDATE.
	null, auto, onUpdate bool
}

// primary is what the servers name every primary key.
const primary = "PRIMARY"

const bin = "VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"

var (
	idKind       = kind{bin + " NOT NULL", form{typ: "varchar(255)", collation: "utf8mb4_bin"}}
	idOrNoneKind = kind{bin + " NOT NULL DEFAULT ''", form{typ: "varchar(255)", collation: "utf8mb4_bin"}}
	labelKind    = kind{bin + " NULL DEFAULT ''", form{typ: "varchar(255)", collation: "utf8mb4_bin", null: true}}
	numberKind   = kind{"INT NOT NULL DEFAULT 0", form{typ: "int"}}
	countKind    = kind{"INT UNSIGNED NOT NULL DEFAULT 0", form{typ: "int unsigned"}}
	sequenceKind = kind{"BIGINT UNSIGNED NOT NULL DEFAULT 0", form{typ: "bigint unsigned"}}
	orderKind    = kind{"BIGINT UNSIGNED NOT NULL AUTO_INCREMENT", form{typ: "bigint unsigned", auto: true}}
	hashKind     = kind{"BINARY(32) NULL", form{typ: "binary(32)", null: true}}
	createdKind  = kind{"TIMESTAMP(6) NULL DEFAULT CURRENT_TIMESTAMP(6)", form{typ: "timestamp(6)", null: true}}
	updatedKind  = kind{createdKind.definition + " ON UPDATE CURRENT_TIMESTAMP(6)", form{typ: "timestamp(6)", null: true, onUpdate: true}}
	momentKind   = kind{"TIMESTAMP(6) NULL", form{typ: "timestamp(6)", null: true}}
	utcKind      = kind{"DATETIME(6) NOT NULL COMMENT 'UTC'", form{typ: "datetime(6)"}}
	utcOrNone    = kind{"DATETIME(6) NULL", form{typ: "datetime(6)", null: true}}
)

// partitionsTable is what later versions added to it. Who does not know of the time leaves it as it is, and moves the position: the time is
// of the position only while position_of says so.
var partitionsTable = table{
	name: "persistd_partitions",
	columns: []column{
		{name: "position_logged", kind: utcOrNone},
		{name: "position_of", kind: sequenceKind},
	},
	keys: []key{{primary, "stream,stream_created,partition_no", true}},
}

// streamsTable lets a log be registered again under its own name and time: one that lost its end is another from there on.
var streamsTable = table{
	name:      "persistd_streams",
	columns:   []column{{name: "registration", kind: countKind}},
	keys:      []key{{primary, "generation", true}, {"unique_stream", "stream,stream_created,registration", true}},
	redundant: []key{{"unique_stream", "stream,stream_created", true}},
}

var stepsTable = table{
	name: "workflow_steps",
	columns: []column{
		{name: "run_id", kind: idKind},
		{name: "node_id", kind: idKind},
		{name: "created_at", kind: createdKind},
		{name: "log_seq", kind: sequenceKind},
		{name: "log_gen", kind: countKind},
		{name: "attempt", kind: countKind},
		{name: "updated_at", kind: updatedKind, first: "TIMESTAMP(6) NULL"}, // it is not known: not the moment of the migration
	},
	keys:      []key{{runStepKey, "run_id,step", true}},
	redundant: []key{{"idx_run_id", "run_id", false}, {"idx_run_step", "run_id,step", false}},
}

var checkpointsTable = table{
	name: "workflow_checkpoints",
	columns: []column{
		{name: "checkpoint_id", kind: idKind},
		{name: "created_at", kind: createdKind},
		{name: "updated_at", kind: updatedKind},
		{name: "log_seq", kind: sequenceKind},
		{name: "log_gen", kind: countKind},
	},
	keys: []key{{"checkpoint_id", "checkpoint_id", true}},
}

// The unique key of the idempotency keys must go under any name: it would let only one checkpoint be without one.
var checkpointsV2Table = table{
	name: "workflow_checkpoints_v2",
	columns: []column{
		{name: "run_id", kind: idKind},
		{name: "idempotency_key", kind: idKind},
		{name: "timestamp", kind: utcKind},
		{name: "label", kind: labelKind},
		{name: "created_at", kind: createdKind},
		{name: "log_seq", kind: sequenceKind},
		{name: "log_gen", kind: countKind},
		{name: "attempt", kind: countKind},
	},
	keys: []key{{runStepKey, "run_id,step_id", true}, {"idx_label", "run_id,label", false}},
	redundant: []key{
		{"idx_run_id", "run_id", false}, {"idx_run_step", "run_id,step_id", false}, {"", "idempotency_key", true},
	},
}

var keysTable = table{
	name: "idempotency_keys",
	columns: []column{
		{name: "key_value", kind: idKind},
		{name: "created_at", kind: createdKind},
		{name: "run_id", kind: idOrNoneKind},
		{name: "step_id", kind: numberKind},
		{name: "content_hash", kind: hashKind},
		{name: "log_seq", kind: sequenceKind},
		{name: "log_gen", kind: countKind},
	},
	keys: []key{{primary, "key_value", true}, {"idx_created", "created_at", false}, {"idx_run", "run_id", false}},
}

var outboxTable = table{
	name: "events_outbox",
	columns: []column{
		{name: "id", kind: idKind},
		{name: "run_id", kind: idKind},
		{name: "emitted_at", kind: momentKind},
		{name: "created_at", kind: createdKind},
		{
			name: "ord", kind: orderKind, first: "BIGINT UNSIGNED NULL", // or the events that are there would be in the order of their ids
			fill: "UPDATE events_outbox o JOIN (SELECT id, ROW_NUMBER() OVER (ORDER BY created_at, id) +" +
				" (SELECT COALESCE(MAX(ord), 0) FROM events_outbox) AS n FROM events_outbox WHERE ord IS NULL) x ON x.id=o.id SET o.ord=x.n",
		},
		{name: "leased_until", kind: utcOrNone},
		{name: "lease_holder", kind: idOrNoneKind},
		{name: "log_seq", kind: sequenceKind},
		{name: "log_gen", kind: countKind},
	},
	keys: []key{
		{primary, "id", true}, {"unique_ord", "ord", true}, {"idx_pending", "emitted_at,ord", false}, {"idx_run_id", "run_id", false},
	},
	redundant: []key{{"idx_pending", "emitted_at,created_at", false}},
}
