-- +goose NO TRANSACTION
-- +goose Up
-- LangGraph-Go's table as persistd wants it; one that is there already is taken over by migration 5.
CREATE TABLE IF NOT EXISTS workflow_steps (
    id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    run_id VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    step INT NOT NULL,
    node_id VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    state JSON NOT NULL,
    created_at TIMESTAMP(6) NULL DEFAULT CURRENT_TIMESTAMP(6),
    log_seq BIGINT UNSIGNED NOT NULL DEFAULT 0,
    log_gen INT UNSIGNED NOT NULL DEFAULT 0,
    UNIQUE KEY unique_run_step (run_id, step)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci;
