package node

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
)

// manager is the name of this program in objects.
const manager = "kata-deploy"

// instanceLabel names the installation that an object belongs to.
const instanceLabel = "kata-deploy/instance"

// Class is a RuntimeClass.
type Class struct {
	Name, Handler string
	// Instance is the installation that it belongs to.
	Instance string
	// Memory and CPU are what a pod needs besides its containers.
	Memory, CPU string
}

// ApplyClass creates or updates a RuntimeClass.
func (c *Client) ApplyClass(ctx context.Context, class Class) error {
	object := map[string]any{
		"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "handler": class.Handler,
		"metadata": map[string]any{"name": class.Name, "labels": map[string]any{
			"app.kubernetes.io/managed-by": manager, instanceLabel: class.Instance,
		}},
		"overhead":   map[string]any{"podFixed": map[string]any{"memory": class.Memory, "cpu": class.CPU}},
		"scheduling": map[string]any{"nodeSelector": map[string]any{Label: "true"}},
	}
	data, err := json.Marshal(object)
	if err != nil {
		return err
	}
	force := true
	return c.again(ctx, "applying the RuntimeClass "+class.Name+" for", func(ctx context.Context) error {
		_, err := c.api.Resource(runtimeClasses).Patch(ctx, class.Name, types.ApplyPatchType, data, metav1.PatchOptions{FieldManager: manager, Force: &force})
		return err
	})
}

// RemoveClasses removes the RuntimeClasses that an installation made, and no other.
func (c *Client) RemoveClasses(ctx context.Context, instance string) error {
	return c.again(ctx, "removing the RuntimeClasses for", func(ctx context.Context) error {
		list, err := c.api.Resource(runtimeClasses).List(ctx, metav1.ListOptions{LabelSelector: instanceLabel + "=" + instance})
		if err != nil {
			return err
		}
		for _, class := range list.Items {
			if !applied(class) {
				continue // The chart's.
			}
			err := c.api.Resource(runtimeClasses).Delete(ctx, class.GetName(), metav1.DeleteOptions{})
			if err != nil && !apierrors.IsNotFound(err) { // All nodes remove them at once.
				return err
			}
		}
		return nil
	})
}

// applied reports whether this program made an object.
func applied(object unstructured.Unstructured) bool {
	for _, field := range object.GetManagedFields() {
		if field.Manager == manager && field.Operation == metav1.ManagedFieldsOperationApply {
			return true
		}
	}
	return false
}

// Event tells the users of the node what happened. It is a courtesy: a failure is logged.
// The events of a node, which has no namespace, are in "default": the API refuses others.
func (c *Client) Event(ctx context.Context, kind, reason, message string, uid types.UID) {
	now := time.Now().UTC()
	at := now.Format(time.RFC3339)
	host, _ := os.Hostname()
	object := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "Event",
		"metadata":       map[string]any{"name": fmt.Sprintf("kata-deploy.%s.%x", strings.ToLower(reason), now.UnixNano()), "namespace": metav1.NamespaceDefault},
		"involvedObject": map[string]any{"apiVersion": "v1", "kind": "Node", "name": c.node, "uid": string(uid)},
		"type":           kind, "reason": reason, "message": message, "count": int64(1),
		"firstTimestamp": at, "lastTimestamp": at,
		"source":             map[string]any{"component": manager, "host": c.node},
		"reportingComponent": manager, "reportingInstance": host,
	}}
	ctx, cancel := context.WithTimeout(ctx, requestLimit)
	defer cancel()
	if _, err := c.api.Resource(events).Namespace(metav1.NamespaceDefault).Create(ctx, object, metav1.CreateOptions{}); err != nil {
		slog.Warn("writing the event failed", "reason", reason, "error", err)
	}
}
