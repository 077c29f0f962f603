/* Detects in one picture with a SavedModel, through TensorFlow's C interface and nothing else.

   serve MODEL PICTURE HEIGHT WIDTH INPUT BOXES SCORES CLASSES

   PICTURE holds HEIGHT x WIDTH x 3 bytes, RGB. INPUT and the three outputs are what
   `saved_model_cli show` says of the signature: OPERATION:INDEX. Prints a line a detection: ymin
   xmin ymax xmax score class. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <tensorflow/c/c_api.h>

static void check(int fine, const char *message) {
  if (!fine) {
    fprintf(stderr, "%s\n", message);
    exit(1);
  }
}

static TF_Output find(TF_Graph *graph, char *name) {
  char *colon = strrchr(name, ':');
  check(colon != NULL, "expected OPERATION:INDEX");
  *colon = '\0';
  TF_Output place = {TF_GraphOperationByName(graph, name), atoi(colon + 1)};
  check(place.oper != NULL, "the graph has no such operation");
  return place;
}

int main(int argc, char **argv) {
  check(argc == 9, "expected MODEL PICTURE HEIGHT WIDTH INPUT BOXES SCORES CLASSES");
  TF_Status *status = TF_NewStatus();
  TF_Graph *graph = TF_NewGraph();
  TF_SessionOptions *options = TF_NewSessionOptions();
  const char *tags[] = {"serve"};
  TF_Session *session = TF_LoadSessionFromSavedModel(options, NULL, argv[1], tags, 1, graph, NULL,
                                                     status);
  check(TF_GetCode(status) == TF_OK, TF_Message(status));

  int64_t shape[] = {1, atoll(argv[3]), atoll(argv[4]), 3};
  size_t size = shape[1] * shape[2] * 3;
  TF_Tensor *images = TF_AllocateTensor(TF_UINT8, shape, 4, size);
  FILE *picture = fopen(argv[2], "rb");
  check(picture != NULL && fread(TF_TensorData(images), 1, size, picture) == size,
        "the picture cannot be read");
  fclose(picture);

  TF_Output input = find(graph, argv[5]);
  TF_Output outputs[] = {find(graph, argv[6]), find(graph, argv[7]), find(graph, argv[8])};
  TF_Tensor *answers[3];
  TF_SessionRun(session, NULL, &input, &images, 1, outputs, answers, 3, NULL, 0, NULL, status);
  check(TF_GetCode(status) == TF_OK, TF_Message(status));

  const float *boxes = TF_TensorData(answers[0]);
  const float *scores = TF_TensorData(answers[1]);
  const int *classes = TF_TensorData(answers[2]);
  for (int64_t i = 0; i < TF_Dim(answers[1], 1) && classes[i] > 0; ++i)
    printf("%.9g %.9g %.9g %.9g %.9g %d\n", boxes[4 * i], boxes[4 * i + 1], boxes[4 * i + 2],
           boxes[4 * i + 3], scores[i], classes[i]);

  for (int i = 0; i < 3; ++i) TF_DeleteTensor(answers[i]);
  TF_DeleteTensor(images);
  TF_CloseSession(session, status);
  TF_DeleteSession(session, status);
  TF_DeleteSessionOptions(options);
  TF_DeleteGraph(graph);
  TF_DeleteStatus(status);
  return 0;
}
