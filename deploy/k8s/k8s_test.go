// Package k8s_test renders what is in this folder as kubectl would, and holds the result against the Kubernetes types and
// against the configuration the daemon reads.
package k8s_test

import (
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"

	"github.com/persistd/persistd/internal/config"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rendered is what kubectl apply -k would send.
type rendered struct {
	deployment *appsv1.Deployment
	service    *corev1.Service
	account    *corev1.ServiceAccount
	budget     *policyv1.PodDisruptionBudget
	config     *corev1.ConfigMap
	secret     *corev1.Secret // nil in the base
}

// render copies the folder first, with the example's secret in the place its user would put it, as the README says.
func render(t *testing.T, dir string) rendered {
	t.Helper()
	root := t.TempDir()
	require.NoError(t, os.CopyFS(root, os.DirFS(".")))
	example := filepath.Join(root, "overlays/example/mysql-dsn")
	dsn, err := os.ReadFile(example + ".example")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(example, dsn, 0o600))

	objects, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), filepath.Join(root, dir))
	require.NoError(t, err)
	decode := strictDecoder(t)
	var r rendered
	for _, object := range objects.Resources() {
		text, err := object.AsYAML()
		require.NoError(t, err)
		switch o := decode(text).(type) {
		case *appsv1.Deployment:
			r.deployment = o
		case *corev1.Service:
			r.service = o
		case *corev1.ServiceAccount:
			r.account = o
		case *policyv1.PodDisruptionBudget:
			r.budget = o
		case *corev1.ConfigMap:
			r.config = o
		case *corev1.Secret:
			r.secret = o
		default:
			t.Fatalf("%s is not expected here", object.CurId())
		}
	}
	return r
}

// strictDecoder fails the test for what the API server would refuse or drop: unknown kinds, fields and types.
func strictDecoder(t *testing.T) func(text []byte) runtime.Object {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{appsv1.AddToScheme, corev1.AddToScheme, policyv1.AddToScheme} {
		require.NoError(t, add(scheme))
	}
	decoder := serializer.NewCodecFactory(scheme, serializer.EnableStrict).UniversalDeserializer()
	return func(text []byte) runtime.Object {
		object, _, err := decoder.Decode(text, nil, nil)
		require.NoError(t, err, "%s", text)
		return object
	}
}

func each(t *testing.T, check func(t *testing.T, r rendered)) {
	t.Parallel()
	for _, dir := range []string{"base", "overlays/example"} {
		t.Run(dir, func(t *testing.T) {
			t.Parallel()
			check(t, render(t, dir))
		})
	}
}

func TestEverythingIsThere(t *testing.T) {
	each(t, func(t *testing.T, r rendered) {
		require.NotNil(t, r.deployment)
		require.NotNil(t, r.service)
		require.NotNil(t, r.account)
		require.NotNil(t, r.budget)
		require.NotNil(t, r.config)
		require.Equal(t, r.account.Name, r.deployment.Spec.Template.Spec.ServiceAccountName)
		require.EqualValues(t, 2, *r.deployment.Spec.Replicas)
		require.Equal(t, "0", r.deployment.Spec.Strategy.RollingUpdate.MaxUnavailable.String())
	})
}

func TestTheDecoderRefusesAnUnknownField(t *testing.T) {
	t.Parallel()
	scheme := runtime.NewScheme()
	require.NoError(t, corev1.AddToScheme(scheme))
	decoder := serializer.NewCodecFactory(scheme, serializer.EnableStrict).UniversalDeserializer()
	_, _, err := decoder.Decode([]byte("apiVersion: v1\nkind: Service\nspec: {portz: []}\n"), nil, nil)
	require.ErrorContains(t, err, `unknown field "spec.portz"`)
}

// settings reads the configuration as the container would: its own environment, and its mounts as files under a folder.
func settings(t *testing.T, r rendered) config.Config {
	t.Helper()
	pod := r.deployment.Spec.Template.Spec
	container := pod.Containers[0]
	root := t.TempDir()
	volumes := map[string]map[string]string{}
	for _, v := range pod.Volumes {
		switch {
		case v.ConfigMap != nil:
			require.Equal(t, r.config.Name, v.ConfigMap.Name)
			volumes[v.Name] = r.config.Data
		case v.Secret != nil && r.secret != nil:
			require.Equal(t, r.secret.Name, v.Secret.SecretName)
			volumes[v.Name] = map[string]string{"dsn": string(r.secret.Data["dsn"])}
		default:
			volumes[v.Name] = map[string]string{"dsn": "app:secret@tcp(db:3306)/langgraph\n"}
		}
	}
	for _, mount := range container.VolumeMounts {
		require.Contains(t, volumes, mount.Name)
		require.NoError(t, os.MkdirAll(filepath.Join(root, mount.MountPath), 0o700))
		for name, text := range volumes[mount.Name] {
			require.NoError(t, os.WriteFile(filepath.Join(root, mount.MountPath, name), []byte(text), 0o600))
		}
	}
	var environ []string
	env := map[string]string{}
	for _, e := range container.Env {
		environ = append(environ, e.Name+"=")
		switch {
		case e.ValueFrom != nil:
			require.Equal(t, "metadata.name", e.ValueFrom.FieldRef.FieldPath)
			env[e.Name] = "persistd-5d8f-x2x4z"
		case path.IsAbs(e.Value):
			env[e.Name] = filepath.Join(root, e.Value)
		default:
			env[e.Name] = e.Value
		}
	}
	require.Empty(t, config.UnknownEnv(environ))

	lookup := func(name string) (string, bool) { value, ok := env[name]; return value, ok }
	var flags config.Flags
	parser, err := kong.New(&flags, config.Options(lookup)...)
	require.NoError(t, err)
	require.Equal(t, "serve", container.Args[0])
	_, err = parser.Parse(container.Args[1:])
	require.NoError(t, err)
	c, err := flags.Complete(lookup)
	require.NoError(t, err)
	return c
}

func TestTheDaemonAcceptsItsConfiguration(t *testing.T) {
	each(t, func(t *testing.T, r rendered) {
		c := settings(t, r)
		require.NoError(t, c.Validate())
		require.Equal(t, "persistd-5d8f-x2x4z", c.Instance, "the pod's name")
		require.True(t, strings.HasPrefix(c.NATS.URL, "nats://nats"), "from the ConfigMap")
		require.Equal(t, "json", c.Log.Format)
	})
}

func TestTheGracePeriodIsLongerThanTheShutdown(t *testing.T) {
	each(t, func(t *testing.T, r rendered) {
		c := settings(t, r)
		pod := r.deployment.Spec.Template.Spec
		preStop := time.Duration(pod.Containers[0].Lifecycle.PreStop.Sleep.Seconds) * time.Second
		require.Positive(t, preStop)
		grace := time.Duration(*pod.TerminationGracePeriodSeconds) * time.Second
		require.Greater(t, grace, preStop+c.Shutdown.DrainTimeout+c.Shutdown.HardTimeout)
	})
}

func TestProbesAskWhatIsServed(t *testing.T) {
	each(t, func(t *testing.T, r rendered) {
		container := r.deployment.Spec.Template.Spec.Containers[0]
		ports := map[string]int32{}
		for _, p := range container.Ports {
			ports[p.Name] = p.ContainerPort
		}
		require.Equal(t, ":8080", settings(t, r).HTTP.Listen)
		require.Equal(t, map[string]int32{"http": 8080}, ports)
		for endpoint, probe := range map[string]*corev1.Probe{
			"/startupz": container.StartupProbe, "/livez": container.LivenessProbe, "/readyz": container.ReadinessProbe,
		} {
			require.Equal(t, endpoint, probe.HTTPGet.Path)
			require.Contains(t, ports, probe.HTTPGet.Port.String())
			require.Greater(t, probe.TimeoutSeconds, int32(2), "a check may take 2s")
		}
		require.Contains(t, ports, r.service.Spec.Ports[0].TargetPort.String())
		require.Equal(t, "8080", r.deployment.Spec.Template.Annotations["prometheus.io/port"])
	})
}

func TestSelectorsMatchThePods(t *testing.T) {
	each(t, func(t *testing.T, r rendered) {
		pods := labels.Set(r.deployment.Spec.Template.Labels)
		selectors := []*metav1.LabelSelector{r.deployment.Spec.Selector, r.budget.Spec.Selector, {MatchLabels: r.service.Spec.Selector}}
		for _, c := range r.deployment.Spec.Template.Spec.TopologySpreadConstraints {
			selectors = append(selectors, c.LabelSelector)
		}
		require.Len(t, selectors, 5)
		for _, s := range selectors {
			selector, err := metav1.LabelSelectorAsSelector(s)
			require.NoError(t, err)
			require.False(t, selector.Empty())
			require.True(t, selector.Matches(pods), selector.String())
		}
	})
}

// The rules of the Pod Security Standard "restricted", and what it leaves out.
func TestThePodIsRestricted(t *testing.T) {
	each(t, func(t *testing.T, r rendered) {
		pod := r.deployment.Spec.Template.Spec
		require.True(t, *pod.SecurityContext.RunAsNonRoot)
		require.EqualValues(t, 65532, *pod.SecurityContext.RunAsUser)
		require.Equal(t, corev1.SeccompProfileTypeRuntimeDefault, pod.SecurityContext.SeccompProfile.Type)
		require.False(t, pod.HostNetwork || pod.HostPID || pod.HostIPC)
		require.False(t, *pod.AutomountServiceAccountToken)
		require.False(t, *r.account.AutomountServiceAccountToken)
		require.False(t, *pod.EnableServiceLinks, "a Service's variables would look like settings")
		require.Len(t, pod.Containers, 1)
		container := pod.Containers[0]
		sc := container.SecurityContext
		require.False(t, *sc.AllowPrivilegeEscalation)
		require.True(t, *sc.ReadOnlyRootFilesystem)
		require.Equal(t, []corev1.Capability{"ALL"}, sc.Capabilities.Drop)
		require.Empty(t, sc.Capabilities.Add)
		require.Nil(t, sc.Privileged)
		for _, v := range pod.Volumes {
			require.Nil(t, v.HostPath)
		}
		require.NotZero(t, container.Resources.Limits.Memory().Value())
		require.NotZero(t, container.Resources.Requests.Memory().Value())
		require.NotZero(t, container.Resources.Requests.Cpu().MilliValue())
	})
}

func TestASecretIsOnlyReferredTo(t *testing.T) {
	t.Parallel()
	base := render(t, "base")
	require.Nil(t, base.secret, "the base holds no secret")
	for _, e := range base.deployment.Spec.Template.Spec.Containers[0].Env {
		secret := strings.Contains(e.Name, "DSN") || strings.Contains(e.Name, "PASSWORD") || strings.Contains(e.Name, "TOKEN")
		if secret {
			require.True(t, strings.HasSuffix(e.Name, "_FILE"), "%s holds a secret itself", e.Name)
		}
	}
	require.NotContains(t, base.config.Data["persistd.yaml"], "dsn")

	overlay := render(t, "overlays/example")
	require.NotNil(t, overlay.secret)
	require.True(t, strings.HasPrefix(overlay.secret.Name, "persistd-mysql-"), "the name has a hash, so that a new secret rolls the pods")
	ignored, err := os.ReadFile("overlays/example/.gitignore")
	require.NoError(t, err)
	require.Equal(t, "/mysql-dsn\n", string(ignored))
}

func TestTheImageIsPinned(t *testing.T) {
	each(t, func(t *testing.T, r rendered) {
		image := r.deployment.Spec.Template.Spec.Containers[0].Image
		require.Regexp(t, `^[a-z./]*persistd:\d+\.\d+\.\d+$`, image)
	})
}
