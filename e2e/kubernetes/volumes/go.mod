module signalbox.dev/e2e/volumes

go 1.26.0
