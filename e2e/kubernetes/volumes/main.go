// Command volumes gives each claim of the end-to-end cluster a directory of the node that its pod was placed on.
//
// It is what makes the `standard` StorageClass dynamic: a claim that the scheduler has placed gets a
// directory and a PersistentVolume of type `local`; a volume whose claim is gone loses both. It speaks
// to the API server in plain HTTP and JSON, because a client library would take longer to build than
// the rest of the cluster takes to start.
package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

const (
	provisioner  = "signalbox.dev/directories"
	selectedNode = "volume.kubernetes.io/selected-node"
	provisioned  = "pv.kubernetes.io/provisioned-by"
)

type meta struct {
	Name        string            `json:"name"`
	Namespace   string            `json:"namespace,omitempty"`
	UID         string            `json:"uid,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

// object is what this program reads of both a claim and a volume.
type object struct {
	Metadata meta `json:"metadata"`
	Spec     struct {
		StorageClassName string   `json:"storageClassName"`
		VolumeName       string   `json:"volumeName"`
		AccessModes      []string `json:"accessModes"`
		VolumeMode       string   `json:"volumeMode"`
		Resources        struct {
			Requests map[string]string `json:"requests"`
		} `json:"resources"`
		Local struct {
			Path string `json:"path"`
		} `json:"local"`
	} `json:"spec"`
	Status struct {
		Phase string `json:"phase"`
	} `json:"status"`
}

type server struct {
	url    string
	root   string
	client *http.Client
}

func main() {
	url := flag.String("server", "", "the API server's address")
	root := flag.String("root", "", "the directory that holds one directory per node")
	ca := flag.String("ca", "", "file with the API server's certificate authority")
	cert := flag.String("cert", "", "file with the client certificate")
	key := flag.String("key", "", "file with the client certificate's key")
	flag.Parse()

	pair, err := tls.LoadX509KeyPair(*cert, *key)
	if err != nil {
		log.Fatalf("client certificate: %v", err)
	}
	authority, err := os.ReadFile(*ca)
	if err != nil {
		log.Fatalf("certificate authority: %v", err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(authority)
	s := &server{url: *url, root: *root, client: &http.Client{Transport: &http.Transport{
		TLSClientConfig:   &tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: pool},
		ForceAttemptHTTP2: true,
	}}}
	go s.watch("/api/v1/persistentvolumes", s.reclaim)
	s.watch("/api/v1/persistentvolumeclaims", s.provision)
}

// watch calls handle for every object there is, and again whenever one changes. It never returns.
func (s *server) watch(path string, handle func(object) error) {
	for {
		if err := s.watchOnce(path, handle); err != nil {
			log.Printf("watch %s: %v", path, err)
		}
		time.Sleep(500 * time.Millisecond)
	}
}

func (s *server) watchOnce(path string, handle func(object) error) error {
	// Version 0 means "what there is now, then every change": a list and a watch in one request.
	response, err := s.client.Get(s.url + path + "?watch=1&resourceVersion=0&timeoutSeconds=300")
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("answered %s", response.Status)
	}
	for decoder := json.NewDecoder(response.Body); ; {
		var event struct {
			Type   string `json:"type"`
			Object object `json:"object"`
		}
		if err := decoder.Decode(&event); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		switch event.Type {
		case "ADDED", "MODIFIED":
			// A failure ends this watch: the next one shows the object again.
			if err := handle(event.Object); err != nil {
				return fmt.Errorf("%s: %w", event.Object.Metadata.Name, err)
			}
		case "ERROR":
			return fmt.Errorf("the server ended the watch")
		}
	}
}

// provision makes the volume of a claim that the scheduler has placed on a node.
func (s *server) provision(claim object) error {
	node := claim.Metadata.Annotations[selectedNode]
	if claim.Status.Phase != "Pending" || claim.Spec.VolumeName != "" || node == "" ||
		claim.Metadata.Annotations["volume.kubernetes.io/storage-provisioner"] != provisioner {
		return nil
	}
	name := "pvc-" + claim.Metadata.UID
	path := filepath.Join(s.root, node, name)
	if err := os.MkdirAll(path, 0o777); err != nil {
		return err
	}
	// The process's umask narrows what MkdirAll was asked for; pods run as any user.
	if err := os.Chmod(path, 0o777); err != nil {
		return err
	}
	volume := map[string]any{
		"apiVersion": "v1", "kind": "PersistentVolume",
		"metadata": meta{Name: name, Annotations: map[string]string{provisioned: provisioner}},
		"spec": map[string]any{
			"storageClassName":              claim.Spec.StorageClassName,
			"capacity":                      map[string]string{"storage": claim.Spec.Resources.Requests["storage"]},
			"accessModes":                   claim.Spec.AccessModes,
			"persistentVolumeReclaimPolicy": "Delete",
			"local":                         map[string]string{"path": path},
			"claimRef": map[string]string{
				"apiVersion": "v1", "kind": "PersistentVolumeClaim", "name": claim.Metadata.Name,
				"namespace": claim.Metadata.Namespace, "uid": claim.Metadata.UID,
			},
			"nodeAffinity": map[string]any{"required": map[string]any{"nodeSelectorTerms": []any{
				map[string]any{"matchExpressions": []any{map[string]any{
					"key": "kubernetes.io/hostname", "operator": "In", "values": []string{node},
				}}},
			}}},
		},
	}
	body, err := json.Marshal(volume)
	if err != nil {
		return err
	}
	return s.send(http.MethodPost, "/api/v1/persistentvolumes", body, http.StatusConflict)
}

// reclaim removes a volume that its claim no longer needs, and what was in it.
func (s *server) reclaim(volume object) error {
	if volume.Status.Phase != "Released" || volume.Metadata.Annotations[provisioned] != provisioner {
		return nil
	}
	// Only a directory two levels under the root was made here.
	if filepath.Dir(filepath.Dir(volume.Spec.Local.Path)) != filepath.Clean(s.root) {
		return fmt.Errorf("its path %q is not under %s", volume.Spec.Local.Path, s.root)
	}
	if err := os.RemoveAll(volume.Spec.Local.Path); err != nil {
		return err
	}
	return s.send(http.MethodDelete, "/api/v1/persistentvolumes/"+volume.Metadata.Name, nil, http.StatusNotFound)
}

// send makes one request; the status `fine` means that there was nothing left to do.
func (s *server) send(method, path string, body []byte, fine int) error {
	request, err := http.NewRequest(method, s.url+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := s.client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode >= 300 && response.StatusCode != fine {
		text, _ := io.ReadAll(io.LimitReader(response.Body, 1000))
		return fmt.Errorf("%s %s: %s: %s", method, path, response.Status, text)
	}
	return nil
}
