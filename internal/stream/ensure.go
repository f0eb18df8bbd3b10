package stream

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"
)

// Ensure returns the log: the stream of cfg, made if it is absent, checked and brought up to cfg if it is there. It blocks until
// that is done, an error is certain, or ctx ends; it is idempotent, and any number of daemons may call it at the same time.
//
// A stream that would break a promise is left alone and returned as a [*ConfigError]; a server that is too old or has no JetStream
// as a [*ServerError]. Of a stream that only has less than cfg asks for, these are raised: subjects, duplicate window, max bytes,
// replicas. Nothing is ever lowered; where the stream has more, it keeps it, and a line in the log says so.
func Ensure(ctx context.Context, js jetstream.JetStream, cfg Config, log *zap.Logger) (*Stream, error) {
	cfg = cfg.WithDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if err := checkServer(js.Conn()); err != nil {
		return nil, err
	}
	ctx, cancel := boundRequests(ctx, cfg)
	defer cancel()
	if _, err := account(ctx, js, cfg.RequestTimeout); err != nil {
		return nil, err
	}
	e := &ensurer{js: js, cfg: cfg, log: log.With(zap.String("stream", cfg.Name))}
	info, err := e.find(ctx, cfg.Name)
	if err != nil {
		return nil, err
	}
	isNew := info == nil
	if isNew {
		// The log takes what it can get, so what stands beside it comes first: it would find no room any more.
		if err := e.makeBeside(ctx, minDeadLetterBytes); err != nil {
			return nil, err
		}
		if info, err = e.findOrCreate(ctx, e.logConfig(), sizing{wanted: cfg.MaxBytes, most: defaultMaxBytes, least: minMaxBytes}); err != nil {
			return nil, err
		}
	}
	partitions, err := check(cfg, info.Config, js.Conn().MaxPayload())
	if err != nil {
		return nil, err
	}
	if info, err = e.raise(ctx, info, cfg.Subjects.WriteFilters(), cfg.MaxBytes); err != nil {
		return nil, err
	}
	if partitions != cfg.Partitions {
		e.log.Warn("keep the partition count that the log was made with",
			zap.Int("partitions", partitions), zap.Int("configured", cfg.Partitions), zap.String("hint", "set partitions to what the log has"))
	}
	if letters := lettersFor(info.Config.MaxBytes); isNew {
		err = e.growLetters(ctx, letters)
	} else {
		err = e.makeBeside(ctx, letters)
	}
	if err != nil {
		return nil, err
	}
	at := created(info)
	return newStream(js, cfg, partitions, at, e.openLetters(at), e.openMarks(at), e.log), nil
}

// makeBeside finds or makes the streams beside the log: that of the dead letters, of letters bytes, and that of the marks.
func (e *ensurer) makeBeside(ctx context.Context, letters int64) error {
	if err := e.makeLetters(ctx, letters); err != nil {
		return err
	}
	return e.makeMarks(ctx)
}

// Find returns the log of cfg as Ensure does, but makes and changes nothing: a log that is not there is an error that wraps
// [jetstream.ErrStreamNotFound]. Its dead letters and its marks may not be there.
func Find(ctx context.Context, js jetstream.JetStream, cfg Config, log *zap.Logger) (*Stream, error) {
	cfg = cfg.WithDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	e := &ensurer{js: js, cfg: cfg, log: log.With(zap.String("stream", cfg.Name))}
	ctx, cancel := boundRequests(ctx, cfg)
	defer cancel()
	info, err := e.find(ctx, cfg.Name)
	if err == nil && info == nil {
		err = fmt.Errorf("find stream %s: %w", cfg.Name, jetstream.ErrStreamNotFound)
	}
	if err != nil {
		return nil, err
	}
	partitions, err := check(cfg, info.Config, js.Conn().MaxPayload())
	if err != nil {
		return nil, err
	}
	at := created(info)
	return newStream(js, cfg, partitions, at, e.openLetters(at), e.openMarks(at), e.log), nil
}

// boundRequests bounds what Ensure asks for: a handful of requests, of which one may make a replicated stream.
func boundRequests(ctx context.Context, cfg Config) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, 16*cfg.RequestTimeout, errors.New("the server took too long to answer"))
}

type ensurer struct {
	js  jetstream.JetStream
	cfg Config
	log *zap.Logger
}

// logConfig is what a new log is made with, but for its size.
func (e *ensurer) logConfig() jetstream.StreamConfig {
	source, destination := e.cfg.Subjects.Transform(e.cfg.Partitions)
	c := e.kept(e.cfg.Name, "The log of persistd: every event, until it is in MySQL and older than the replay window", e.cfg.Subjects.WriteFilters())
	c.SubjectTransform = &jetstream.SubjectTransformConfig{Source: source, Destination: destination}
	c.AllowAtomicPublish = true
	c.Duplicates = e.cfg.DuplicateWindow
	c.Metadata = map[string]string{metaPartitions: strconv.Itoa(e.cfg.Partitions), metaFormat: strconv.Itoa(format)}
	return c
}

// kept is what keeps all that it is given: the log and the dead letters alike (I1, I7).
func (e *ensurer) kept(name, description string, subjects []string) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:              name,
		Description:       description,
		Subjects:          subjects,
		Retention:         jetstream.LimitsPolicy,
		Discard:           jetstream.DiscardNew,
		Storage:           jetstream.FileStorage,
		Replicas:          e.cfg.Replicas,
		MaxMsgs:           -1,
		MaxMsgsPerSubject: -1,
		MaxConsumers:      -1,
		MaxMsgSize:        -1,
		AllowDirect:       true,
	}
}

// sizing says how large a new stream may grow: wanted, or when that is 0, at most most and at least least, by what the account has.
type sizing struct{ wanted, most, least int64 }

// findOrCreate returns the stream want.Name, made by this call, an earlier one or another daemon.
func (e *ensurer) findOrCreate(ctx context.Context, want jetstream.StreamConfig, size sizing) (*jetstream.StreamInfo, error) {
	info, err := e.find(ctx, want.Name)
	if err != nil || info != nil {
		return info, err
	}
	want.MaxBytes = size.wanted
	if size.wanted == 0 {
		acc, err := account(ctx, e.js, e.cfg.RequestTimeout)
		if err != nil {
			return nil, err
		}
		want.MaxBytes = size.most
		if free, known := freeBytes(acc, want.Replicas); known {
			want.MaxBytes = min(size.most, max(free/2, size.least))
		}
	}
	for {
		s, err := e.js.CreateStream(ctx, want)
		switch {
		case err == nil:
			e.log.Info("made stream", zap.String("name", want.Name), zap.Int64("max_bytes", want.MaxBytes), zap.Int("replicas", want.Replicas))
			return s.CachedInfo(), nil
		case errors.Is(err, jetstream.ErrStreamNameAlreadyInUse):
			// Another daemon made it since, perhaps with other settings: those are checked as any others.
			if info, err = e.find(ctx, want.Name); err == nil && info == nil {
				err = fmt.Errorf("find stream %s: %w just after it was there", want.Name, jetstream.ErrStreamNotFound)
			}
			return info, err
		case noRoom(err) && size.wanted == 0 && want.MaxBytes/2 >= size.least:
			want.MaxBytes /= 2
		default:
			return nil, e.createError(ctx, want, err)
		}
	}
}

// find returns the stream's state, or nil when there is no such stream.
func (e *ensurer) find(ctx context.Context, name string) (*jetstream.StreamInfo, error) {
	s, err := e.js.Stream(ctx, name)
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound):
		return nil, nil //nolint:nilnil // documented: absence is an answer.
	case err != nil:
		return nil, fmt.Errorf("find stream %s: %w", name, err)
	}
	return s.CachedInfo(), nil
}

// The server's error codes that nats.go does not name.
const (
	codeNoPeers        jetstream.ErrorCode = 10005
	codeNoResources    jetstream.ErrorCode = 10023
	codeNoStorage      jetstream.ErrorCode = 10047
	codeSubjectOverlap jetstream.ErrorCode = 10065
	codeNoReplicas     jetstream.ErrorCode = 10074
)

// noRoom reports whether the server refused a stream for its size.
func noRoom(err error) bool {
	var api *jetstream.APIError
	if !errors.As(err, &api) {
		return false
	}
	switch api.ErrorCode { //nolint:exhaustive // the others are other errors.
	case codeNoStorage, codeNoResources:
		return true
	case codeNoPeers: // a cluster says there which peers lack what
		return strings.Contains(api.Description, "storage")
	default:
		return false
	}
}

// createError says what to do about a stream that the server does not make.
func (e *ensurer) createError(ctx context.Context, want jetstream.StreamConfig, err error) error {
	hint := sizeHint(want, err)
	if api, ok := errors.AsType[*jetstream.APIError](err); ok && api.ErrorCode == codeSubjectOverlap {
		hint = "another stream listens on the same subjects: remove that one, or set another subject prefix"
		if name, err := e.js.StreamNameBySubject(ctx, want.Subjects[0]); err == nil {
			hint = fmt.Sprintf("stream %s listens on the same subjects: remove that one, or set its name here, or another subject prefix", name)
		}
	}
	return hinted("make stream "+want.Name, err, hint)
}

// sizeHint is what to do about a server that has no room for the stream, or not enough servers; "" when that is not it.
func sizeHint(want jetstream.StreamConfig, err error) string {
	api, ok := errors.AsType[*jetstream.APIError](err)
	switch {
	case !ok:
		return ""
	case noRoom(err):
		return fmt.Sprintf("it may not store %d bytes: raise max_file_store of the server or the account's max_storage, or set a smaller max bytes", want.MaxBytes)
	case api.ErrorCode == codeNoPeers || api.ErrorCode == codeNoReplicas:
		return fmt.Sprintf("%d replicas need a cluster with as many servers: set replicas to 1 for a single one", want.Replicas)
	default:
		return ""
	}
}

func hinted(what string, err error, hint string) error {
	if hint == "" {
		return fmt.Errorf("%s: %w", what, err)
	}
	return fmt.Errorf("%s: %w (%s)", what, err, hint)
}

// raise gives the stream found what it lacks of the configuration, and takes nothing away. maxBytes 0 asks for nothing.
func (e *ensurer) raise(ctx context.Context, info *jetstream.StreamInfo, subjects []string, maxBytes int64) (*jetstream.StreamInfo, error) {
	c, log := info.Config, e.log.With(zap.String("name", info.Config.Name))
	var raised []zap.Field
	for _, s := range subjects {
		if !slices.Contains(c.Subjects, s) {
			c.Subjects = append(slices.Clone(c.Subjects), s)
			raised = append(raised, zap.String("subject", s))
		}
	}
	if c.Duplicates < e.cfg.DuplicateWindow {
		c.Duplicates = e.cfg.DuplicateWindow
		raised = append(raised, zap.Duration("duplicate_window", c.Duplicates))
	}
	switch {
	case c.MaxBytes > 0 && c.MaxBytes < maxBytes:
		c.MaxBytes = maxBytes
		raised = append(raised, zap.Int64("max_bytes", maxBytes))
	case maxBytes > 0 && c.MaxBytes > maxBytes:
		log.Info("keep the larger size of the stream", zap.Int64("max_bytes", c.MaxBytes), zap.Int64("configured", maxBytes))
	}
	switch {
	case c.Replicas < e.cfg.Replicas:
		c.Replicas = e.cfg.Replicas
		raised = append(raised, zap.Int("replicas", c.Replicas))
	case c.Replicas > e.cfg.Replicas:
		log.Info("keep the additional replicas of the stream", zap.Int("replicas", c.Replicas), zap.Int("configured", e.cfg.Replicas))
	}
	if len(raised) == 0 {
		return info, nil
	}
	s, err := e.js.UpdateStream(ctx, c)
	if err != nil {
		return nil, hinted("raise settings of stream "+c.Name, err, sizeHint(c, err))
	}
	log.Info("raised settings of stream", raised...)
	return s.CachedInfo(), nil
}
