# The cluster, and what the two kinds of task have in common.
#
#   clients (var.client_cidrs) --50051, 8080--> service --50052--> workers
#                                                  |                  |
#                                                  +--> S3, SQS <-----+--> S3

locals {
  flight_port = 50051
  worker_port = 50052
  http_port   = 8080

  service_host = "service.${var.namespace}"
  workers_host = "workers.${var.namespace}"

  # The user of the image: distroless's nonroot, as a number, since ECS looks up no names.
  user = "65532:65532"

  environment = merge(
    { AWS_REGION = var.region, RUST_LOG = var.log_level },
    var.otlp == null ? {} : { OTEL_EXPORTER_OTLP_ENDPOINT = var.otlp.endpoint },
  )

  # What both containers are: without privileges, and with nothing to write to but /tmp, where
  # DataFusion spills. ECS gives a volume the owner and mode of the image's VOLUME of that path.
  container = {
    image                  = var.image
    essential              = true
    user                   = local.user
    readonlyRootFilesystem = true
    linuxParameters        = { capabilities = { add = [], drop = ["ALL"] } }
    mountPoints            = [{ sourceVolume = "tmp", containerPath = "/tmp", readOnly = false }]
    # The epoch at work is finished after SIGTERM; two minutes are the most that Fargate waits.
    stopTimeout = 120
  }

  log_options = { for role, group in var.log_groups : role => {
    logDriver = "awslogs"
    options = {
      awslogs-group         = group
      awslogs-region        = var.region
      awslogs-stream-prefix = role
      # A log endpoint that hangs must not hold up an epoch.
      mode            = "non-blocking"
      max-buffer-size = "4m"
    }
  } }
}

resource "aws_ecs_cluster" "this" {
  name = var.name

  setting {
    name  = "containerInsights"
    value = var.container_insights ? "enabled" : "disabled"
  }
}

resource "aws_ecs_cluster_capacity_providers" "this" {
  cluster_name       = aws_ecs_cluster.this.name
  capacity_providers = ["FARGATE", "FARGATE_SPOT"]
}
