"""Whether a question is about another product: it names one, and none of Jenkins' own words stands beside it.

A handbook of Jenkins names Docker, Maven, Kubernetes and fifty more on its pages, so a question about one of them alone
("How do I create a Kubernetes ingress with TLS?") shares its words with the sources, which do not answer it.
"""

import re

_NAMES = r"""
airbyte airflow ansible apache appium argo_cd autocad aws azure bash bazel bigquery bitbucket bitrise blender
bootstrap buildah c# c\+\+ caddy canva cargo cassandra celery chef chrome clickhouse cloudflare cloudformation
cloudwatch cmake codebuild codedeploy codefresh codepipeline codeship conan conda confluence consul containerd couchdb
cucumber cypress dagger databricks datadog dbt digitalocean discord django docker docker-compose dotnet dropbox
drupal dynamodb dynatrace ec2 eclipse ecs eks elasticsearch electron elixir emacs envoy esbuild eslint excel facebook
fargate fastapi figma firebase firefox flask flink fluentd flutter fluxcd gatling gcloud gcp git gitea github
gitlab gke gmail golang google gradle grafana graphql grpc hadoop haproxy haskell helm helmfile heroku hibernate iam
iis influxdb instagram intellij ipad iphone istio jaeger jarsigner javascript jest jira jmeter jquery jupyter k6 k8s
kafka kibana kotlin kubectl kubernetes kustomize laravel linkedin log4j logback logrotate logstash loki magento
mariadb matlab maven memcached mercurial minecraft minikube mocha mockito mongodb mysql nagios neo4j netflix netlify
next\.js nexus nginx nifi nintendo node\.js nodejs nomad notion npm nuget numpy onenote opensearch openshift openssl
opentelemetry opsgenie oracle outlook packer pagerduty pandas perforce perl photoshop php pip pipenv playstation
playwright pnpm podman poetry portainer postgres postgresql postman power_?bi powerpoint powershell prettier
prometheus promql proxmox pulumi puppet puppeteer pytest python pytorch rabbitmq rails rancher react redis redshift
ruby rust s3 salesforce sap scala selenium sentry servicenow sharepoint shopify skaffold slack snowflake solr
sonarqube spark splunk spotify spring springboot sql sqlite squid stripe subversion supabase svelte svn swagger
tableau tailwind telegraf tensorflow terraform terragrunt tesla testng tomcat traefik trello typescript
vagrant vercel vim virtualbox vite vmware vs_?code vue webpack whatsapp wordpress wsl xbox xcode yarn youtube zabbix
zoom
"""
"""With `_` for a blank."""
_OTHER = re.compile(rf"(?i)(?<![\w.])(?:{'|'.join(_NAMES.split()).replace('_', ' ')})(?!\w)")
_OF_JENKINS = re.compile(
    r"(?i)jenkins|pipelines?\b|declarative|scripted|plug-?ins?\b|multibranch|controllers?\b|\bagents?\b|\bstages?\b|"
    r"\bsteps?\b|\bnodes?\b|\bfreestyle|\bbuilds?\b|\bjobs?\b|shared librar|\bcredentials?\b|\bhpi\b|blue ?ocean|"
    r"\bjcasc\b|configuration as code|\bexecutors?\b"
)


def is_about_other_product(question: str) -> bool:
    """Whether a question names a product beside Jenkins and no word of Jenkins' own.

    CI products are left to `scope.py`. Source: 45 of 1,114 development questions that the handbook answers are so, and
    48 of 77 on other products.
    """
    return bool(_OTHER.search(question)) and not _OF_JENKINS.search(question)
