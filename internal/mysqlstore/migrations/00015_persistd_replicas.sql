-- +goose NO TRANSACTION
-- +goose Up
-- One row per replica that shares in a stream's partitions. All times are UTC by the database's clock.
CREATE TABLE IF NOT EXISTS persistd_replicas (
    stream VARCHAR(255) NOT NULL,
    stream_created DATETIME(6) NOT NULL,
    instance VARCHAR(255) NOT NULL,
    since DATETIME(6) NOT NULL COMMENT 'when it came',
    seen_until DATETIME(6) NOT NULL COMMENT 'it counts as there until then, unless it is renewed',
    PRIMARY KEY (stream, stream_created, instance)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
