package mysqlstore

import (
	"context"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/internal/devstack/stacktest"
)

func TestADSNMayNameSeveralServers(t *testing.T) {
	t.Parallel()
	for dsn, want := range map[string][]string{
		"u:p@tcp(a:1,b:2)/d?tls=true": {"a:1", "b:2"},
		"u:p@tcp(a,b,c:3)/d":          {"a:3306", "b:3306", "c:3"},
		"u:p@(,@/x@tcp(a, b)/d":       {"a:3306", "b:3306"},
		"u:p@tcp([::1]:1,[::2]:2)/d":  {"[::1]:1", "[::2]:2"},
		"u:p@tcp(a:1)/d":              nil,
		"u:p@unix(/tmp/a,b)/d":        nil,
		"tcp(a:1,b:2)":                nil,
		"":                            nil,
	} {
		require.Equal(t, want, Addresses(dsn), dsn)
		one, err := mysql.ParseDSN(OneAddress(dsn))
		if len(want) > 0 {
			require.NoError(t, err, dsn)
			require.Equal(t, want[0], one.Addr)
		} else {
			require.Equal(t, dsn, OneAddress(dsn))
		}
	}
	v, err := Config{DSN: "u:p@tcp(a:1,b:2)/d?tls=true"}.servers()
	require.NoError(t, err)
	require.Equal(t, "a", v.drivers[0].TLS.ServerName)
	require.Equal(t, "b", v.drivers[1].TLS.ServerName, "each server's certificate is of its own name")
	require.EqualError(t, Config{DSN: "u:hunter2@tcp(a:1,)/d", Owner: "o"}.WithDefaults().Validate(), "dsn: address 2 of 2 is empty")
}

func TestTheNextServerIsWorkedOnWhenOneFails(t *testing.T) {
	t.Parallel()
	one, dsn := stacktest.OwnDatabase(t)
	two, _ := stacktest.OwnDatabase(t)
	s := open(t, both(t, dsn, one.Addr(), two), func(c *Config) { c.ConnectTimeout = time.Second })
	require.NoError(t, s.Ping(t.Context()))
	require.Equal(t, one.Addr(), s.address())

	one.Kill()
	require.Eventually(t, func() bool { return s.Ping(t.Context()) == nil }, time.Minute, 10*time.Millisecond)
	require.Equal(t, two.Addr(), s.address())
	require.NoError(t, one.Restart(t.Context()))
	require.NoError(t, s.Ping(t.Context()))
	require.Equal(t, two.Addr(), s.address(), "a server that works is not left")
}

func TestAServerThatDoesNotAnswerIsLeftAlsoByWhoHasNoTimeForTheNext(t *testing.T) {
	t.Parallel()
	one, dsn := stacktest.OwnDatabase(t)
	two, _ := stacktest.OwnDatabase(t)
	s := open(t, both(t, dsn, one.Addr(), two), func(c *Config) { c.ConnectTimeout = time.Minute })
	require.NoError(t, syscall.Kill(one.Pid(), syscall.SIGSTOP))
	t.Cleanup(func() { _ = syscall.Kill(one.Pid(), syscall.SIGCONT) })
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	require.Error(t, s.Ping(ctx))
	require.NoError(t, s.Ping(t.Context()))
	require.Equal(t, two.Addr(), s.address())
}

// A request that is given up says nothing of the server.
func TestAServerIsNotLeftByWhoDoesNotWaitForIt(t *testing.T) {
	t.Parallel()
	silent := func() string { // takes connections, and says nothing
		l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
		require.NoError(t, err)
		t.Cleanup(func() { _ = l.Close() })
		return l.Addr().String()
	}
	for name, give := range map[string]func(context.Context) (context.Context, context.CancelFunc){
		"it was told to stop": func(ctx context.Context) (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancel(ctx)
			time.AfterFunc(2*leastPatience, cancel)
			return ctx, cancel
		},
		"it had hardly any time left": func(ctx context.Context) (context.Context, context.CancelFunc) {
			return context.WithTimeout(ctx, time.Millisecond)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := open(t, "root:@tcp("+silent()+","+silent()+")/persistd", func(c *Config) { c.ConnectTimeout = time.Minute })
			was := s.address()
			ctx, cancel := give(t.Context())
			defer cancel()
			require.Error(t, s.Ping(ctx))
			require.Equal(t, was, s.address())
		})
	}
}

func TestOnceAServerIsLeftNoConnectionToItIsUsed(t *testing.T) {
	t.Parallel()
	one, dsn := stacktest.OwnDatabase(t)
	two, _ := stacktest.OwnDatabase(t)
	s := open(t, both(t, dsn, one.Addr(), two))
	port := func() (port int) {
		require.NoError(t, s.readers.QueryRowContext(t.Context(), "SELECT @@port").Scan(&port))
		return port
	}
	first := port()
	s.servers.leave(0)
	require.NotEqual(t, first, port())
	s.servers.leave(0)
	require.Equal(t, two.Addr(), s.address(), "who is late to find out does not undo it")
}

func TestOfSeveralServersNoneThatIsReadOnlyIsWorkedOn(t *testing.T) {
	t.Parallel()
	one, dsn := stacktest.OwnDatabase(t)
	two, _ := stacktest.OwnDatabase(t)
	exec(t, open(t, dsn).readers, "SET GLOBAL read_only=ON")
	s := open(t, both(t, dsn, one.Addr(), two))
	require.NoError(t, s.Ping(t.Context()))
	require.Equal(t, two.Addr(), s.address())
	require.NoError(t, open(t, dsn).Ping(t.Context()), "a server that stands alone is there to be read")
}

func TestAPrimaryThatIsDemotedIsLeftWhereOthersAreNamed(t *testing.T) {
	t.Parallel()
	refused := &mysql.MySQLError{Number: 1290, SQLState: [5]byte([]byte("HY000")), Message: "The server is running with the --read-only option"}
	v, err := Config{DSN: "u:p@tcp(a:1,b:2)/d"}.servers()
	require.NoError(t, err)
	c := &conn{servers: v}
	require.ErrorIs(t, c.looked(refused), refused)
	require.False(t, c.fit())
	require.EqualValues(t, 1, v.current.Load())

	v, err = Config{DSN: "u:p@tcp(a:1)/d"}.servers()
	require.NoError(t, err)
	c = &conn{servers: v}
	require.ErrorIs(t, c.looked(refused), refused)
	require.True(t, c.fit(), "there is no other")
}

// both is dsn with the address of a second server, of which it makes the password the first one's.
func both(t testing.TB, dsn, first string, second interface {
	Addr() string
	DSN(string) string
},
) string {
	t.Helper()
	c, err := mysql.ParseDSN(dsn)
	require.NoError(t, err)
	other := open(t, second.DSN("persistd"))
	exec(t, other.readers, "ALTER USER 'root'@'127.0.0.1' IDENTIFIED BY '"+c.Passwd+"'")
	return strings.Replace(dsn, first, first+","+second.Addr(), 1)
}

// address is of the server that s works on.
func (s *Store) address() string { return s.servers.drivers[s.servers.current.Load()].Addr }
