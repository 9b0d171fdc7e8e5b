# Workers hold nothing between epochs: they may come, go and be replaced at any time.

locals {
  is_scaled = var.worker_count_max > var.worker_count

  worker_container = merge(local.container, {
    name             = "worker"
    command          = ["worker", "--listen", "0.0.0.0:${local.worker_port}"]
    portMappings     = [{ containerPort = local.worker_port, hostPort = local.worker_port, protocol = "tcp" }]
    environment      = [for name, value in local.environment : { name = name, value = value }]
    secrets          = [{ name = "TIDEGAUGE_TOKENS", valueFrom = var.secrets.worker_tokens }]
    logConfiguration = local.log_options["worker"]
  })
}

resource "aws_ecs_task_definition" "worker" {
  family                   = "${var.name}-worker"
  requires_compatibilities = ["FARGATE"]
  network_mode             = "awsvpc"
  cpu                      = var.worker_size.cpu
  memory                   = var.worker_size.memory
  execution_role_arn       = var.role_arns["execution"]
  task_role_arn            = var.role_arns["worker"]
  container_definitions    = jsonencode([local.worker_container])

  volume {
    name = "tmp"
  }
  ephemeral_storage {
    size_in_gib = var.ephemeral_storage_gib
  }
  runtime_platform {
    operating_system_family = "LINUX"
    cpu_architecture        = var.cpu_architecture
  }
}

resource "aws_ecs_service" "workers" {
  count = local.is_scaled ? 0 : 1

  name            = "workers"
  cluster         = aws_ecs_cluster.this.id
  task_definition = aws_ecs_task_definition.worker.arn
  desired_count   = var.worker_count

  capacity_provider_strategy {
    capacity_provider = var.workers_on_spot ? "FARGATE_SPOT" : "FARGATE"
    weight            = 1
  }

  # New ones first, so that an epoch always finds workers.
  deployment_minimum_healthy_percent = 100
  deployment_maximum_percent         = 200
  deployment_circuit_breaker {
    enable   = true
    rollback = true
  }

  network_configuration {
    subnets          = var.subnet_ids
    security_groups  = [aws_security_group.workers.id]
    assign_public_ip = false
  }

  service_registries {
    registry_arn = aws_service_discovery_service.this["workers"].arn
  }

  propagate_tags = "SERVICE"
  depends_on = [
    aws_ecs_cluster_capacity_providers.this,
    aws_vpc_security_group_egress_rule.endpoints,
    aws_vpc_security_group_egress_rule.s3,
    aws_vpc_security_group_ingress_rule.endpoints,
  ]
}
