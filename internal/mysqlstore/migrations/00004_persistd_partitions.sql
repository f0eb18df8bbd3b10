-- +goose NO TRANSACTION
-- +goose Up
-- One row per partition: its position, its lease and its fence. All times are UTC by the database's clock.
CREATE TABLE IF NOT EXISTS persistd_partitions (
    stream VARCHAR(255) NOT NULL,
    stream_created DATETIME(6) NOT NULL,
    partition_no INT UNSIGNED NOT NULL,
    generation INT UNSIGNED NOT NULL COMMENT 'of the stream: log_gen of the rows written from it',
    position BIGINT UNSIGNED NOT NULL COMMENT 'sequence up to which the partition is in this database',
    owner VARCHAR(255) NOT NULL COMMENT 'empty: nobody',
    epoch BIGINT UNSIGNED NOT NULL COMMENT 'rises with every acquisition',
    lease_until DATETIME(6) NOT NULL,
    updated_at DATETIME(6) NOT NULL COMMENT 'when the position last moved',
    PRIMARY KEY (stream, stream_created, partition_no)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
