package logging_test

import (
	"bytes"
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/persistd/persistd/internal/logging"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestJSONEntriesHaveTheDocumentedKeys(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	log, _, err := logging.New(zapcore.AddSync(&out), "info", "json")
	require.NoError(t, err)
	log.Named("ingest").Warn("partition lost", zap.Int("partition", 3), zap.Duration("after", 90*time.Second))

	var entry map[string]any
	require.NoError(t, json.Unmarshal(out.Bytes(), &entry))
	at, err := time.Parse(time.RFC3339Nano, entry["ts"].(string))
	require.NoError(t, err)
	require.Equal(t, time.UTC, at.Location())
	require.WithinDuration(t, time.Now(), at, time.Minute)
	delete(entry, "ts")
	require.Equal(t, map[string]any{
		"level": "warn", "logger": "ingest", "msg": "partition lost", "partition": 3.0, "after": "1m30s",
	}, entry)
}

func TestTheLevelCanBeChangedWhileLogging(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	log, level, err := logging.New(zapcore.AddSync(&out), "warn", "console")
	require.NoError(t, err)
	log.Info("unseen")
	require.Empty(t, out.String())
	level.SetLevel(zap.DebugLevel)
	log.Named("batcher").Debug("seen", zap.Int("rows", 2))
	require.Regexp(t, `^\d\d:\d\d:\d\d\.\d{3}  DEBUG  batcher  seen  \{"rows": 2\}\n$`, out.String())
}

func TestWhatIsNoLevelOrFormatIsAnError(t *testing.T) {
	t.Parallel()
	_, _, err := logging.New(zapcore.AddSync(&bytes.Buffer{}), "loud", "json")
	require.ErrorContains(t, err, "parse log level")
	_, _, err = logging.New(zapcore.AddSync(&bytes.Buffer{}), "info", "xml")
	require.ErrorContains(t, err, `format "xml" is neither json nor console`)
}
