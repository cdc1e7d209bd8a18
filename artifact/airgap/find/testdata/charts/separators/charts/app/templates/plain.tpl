apiVersion: v1
kind: Pod
spec: {containers: [{image: "tpl:1"}]}
