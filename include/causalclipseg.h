/* causalclipseg: text-prompted lesion segmentation for ultrasound. C89 and C++98, with stdint.h.
 *
 * Generated from crates/capi by cbindgen, and compared with it by that crate's test `header`. How to build, link and use
 * the library: docs/embedding.md.
 *
 * Research software; not a medical device. */

#ifndef CAUSALCLIPSEG_H
#define CAUSALCLIPSEG_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * The longest side of a frame, in pixels.
 */
#define CCS_MAX_SIDE 16384

/**
 * One byte a pixel.
 */
#define CCS_FORMAT_GRAY8 0

/**
 * Two bytes a pixel, low byte first.
 */
#define CCS_FORMAT_GRAY16 1

/**
 * Three bytes a pixel: red, green, blue.
 */
#define CCS_FORMAT_RGB8 2

/**
 * Four bytes a pixel: blue, green, red, and one that is ignored.
 */
#define CCS_FORMAT_BGRA8 3

/**
 * A plane of luma, and one of blue and red differences side by side at half the width and height. As in all formats with
 * luma: ITU-R BT.601, black is 16 and white 235; odd sides are rounded up where they are halved.
 */
#define CCS_FORMAT_NV12 4

/**
 * A plane of luma, and one of blue and one of red differences, each at half the width and height.
 */
#define CCS_FORMAT_I420 5

/**
 * Luma, blue difference, luma, red difference: two pixels in four bytes.
 */
#define CCS_FORMAT_YUYV 6

/**
 * Blue difference, luma, red difference, luma: two pixels in four bytes.
 */
#define CCS_FORMAT_UYVY 7

/**
 * Three bytes a pixel: blue, green, red.
 */
#define CCS_FORMAT_BGR24 8

/**
 * Raised whenever a function, a struct or a constant changes in a way that an older host would notice.
 */
#define CCS_ABI_VERSION 4

/**
 * No lines.
 */
#define CCS_LOG_OFF 0

/**
 * Failures: an internal error, a stream that stopped.
 */
#define CCS_LOG_ERROR 1

/**
 * Possible problems: frames without a result, a GPU that is not used.
 */
#define CCS_LOG_WARN 2

/**
 * Single events: a model was opened.
 */
#define CCS_LOG_INFO 3

/**
 * Times and sizes, some of them for each frame.
 */
#define CCS_LOG_DEBUG 4

/**
 * Everything, including lines of the libraries that this one uses.
 */
#define CCS_LOG_TRACE 5

/**
 * The most threads that share the work on one frame.
 */
#define CCS_MAX_THREADS 64

/**
 * The CPU computes.
 */
#define CCS_DEVICE_CPU 0

/**
 * A hardware GPU computes if one is usable, the CPU otherwise.
 */
#define CCS_DEVICE_AUTO 1

/**
 * A GPU computes; falls back to the CPU if it can't or stops working.
 */
#define CCS_DEVICE_GPU 2

/**
 * The most prompts of one call or stream.
 */
#define CCS_MAX_PROMPTS 256

/**
 * The most frames that may wait in a stream.
 */
#define CCS_MAX_QUEUED_FRAMES 8

/**
 * A frame with its results.
 */
#define CCS_EVENT_FRAME 0

/**
 * A frame failed; the event says why.
 */
#define CCS_EVENT_FAILED 1

/**
 * `model_index` and `every_nth` changed.
 */
#define CCS_EVENT_LEVEL 2

/**
 * The stream stopped; the event says why.
 */
#define CCS_EVENT_STOPPED 3

/**
 * The frame waits for the network.
 */
#define CCS_SUBMITTED 0

/**
 * The frame was skipped, since the rate is lowered.
 */
#define CCS_SKIPPED 1

/**
 * The frame was dropped, since several threads submitted at once.
 */
#define CCS_DROPPED 2

/**
 * The queue is full and the frame was refused; only with keep_order.
 */
#define CCS_FULL 3

/**
 * A thread that shares the work on a model's frames.
 */
#define CCS_THREAD_WORKER 0

/**
 * The thread that segments a stream's frames and calls the stream's callback.
 */
#define CCS_THREAD_STREAM 1

/**
 * The frame has no contrast.
 */
#define CCS_FLAG_BLANK_FRAME 1

/**
 * The frame equals the last one, pixel for pixel.
 */
#define CCS_FLAG_FROZEN_FRAME 2

/**
 * The frame is noise, not an ultrasound image.
 */
#define CCS_FLAG_NOISE_FRAME 4

/**
 * The source marked the frame as lost, see ccs_frame.invalid.
 */
#define CCS_FLAG_INVALID_FRAME 8

/**
 * No pixel is above the threshold.
 */
#define CCS_FLAG_NOTHING_FOUND 16

/**
 * The score is too low to be relied on.
 */
#define CCS_FLAG_LOW_SCORE 32

/**
 * The prompt has words that the model was not trained on.
 */
#define CCS_FLAG_UNKNOWN_WORDS 64

/**
 * The frame is unlike the images that the model was trained on.
 */
#define CCS_FLAG_UNFAMILIAR_FRAME 128

/**
 * The result of a call: one of CCS_STATUS_*.
 */
typedef int32_t ccs_status;

/**
 * Called with each line for the log: its level, CCS_LOG_ERROR to CCS_LOG_TRACE, the module that it comes from, such as
 * "causalclipseg::stream", and one line of text. Both strings are lent until the call returns. It may be called from any thread
 * and from several at once. It must not throw, and must not call ccs_set_log; lines that other functions of this library log
 * when called from it are dropped.
 */
typedef void (*ccs_log)(void *user, uint32_t level, const char *module, const char *message);

/**
 * Called first in each thread that the library starts, on that thread, for example to name it or to set its priority. `kind` is
 * one of CCS_THREAD_*; `index` is a worker's number from 1, and 0 for a stream's thread. The call that starts the threads
 * returns when this has returned in all of them. It must not throw, and must not call this library.
 */
typedef void (*ccs_thread_start)(void *user, uint32_t kind, uint32_t index);

/**
 * How a model is opened; null means one thread of the CPU, 64 cached prompts, no confounders, trained weights only.
 */
typedef struct {
  /**
   * sizeof(ccs_model_options).
   */
  uint32_t struct_size;
  /**
   * Threads that share the work on one frame, the calling one among them, 1 to CCS_MAX_THREADS; 0 is 1.
   */
  uint32_t threads;
  /**
   * Prompts whose encoding is kept; 0 is 64.
   */
  uint32_t cached_prompts;
  /**
   * 1 to compute the confounder map too, which costs time, or 0.
   */
  uint32_t confounders;
  /**
   * 1 to open weights that were never trained, whose masks mean nothing, or 0.
   */
  uint32_t allow_untrained;
  /**
   * What computes a frame, one of CCS_DEVICE_*. A library built without GPUs refuses CCS_DEVICE_GPU.
   */
  uint32_t device;
  /**
   * The most that the model and one session may hold, see ccs_model_info.memory_bytes; 0: any. A model that needs more is
   * refused with CCS_STATUS_MEMORY, before any frame runs.
   */
  uint64_t memory_cap_bytes;
  /**
   * Which GPU: 0 for the most capable, or one more than its number in the list of `causalclipseg inspect`.
   */
  uint32_t gpu;
  /**
   * Set to 0.
   */
  uint32_t reserved;
  /**
   * Called first in each of the `threads` - 1 worker threads; null: nothing is called.
   */
  ccs_thread_start on_thread_start;
  /**
   * The first argument of `on_thread_start`.
   */
  void *thread_user;
  /**
   * The cores that workers run on: worker n, from 1, on core `cores[(n - 1) % core_count]` alone. The thread that submits a
   * frame is the host's and is not moved. Null and 0: the system chooses. Cores that this process may not use are refused.
   */
  const uint32_t *cores;
  /**
   * The numbers that `cores` points to.
   */
  size_t core_count;
  /**
   * Ed25519 keys, 32 bytes each: the bundle must be signed by one of them, or is refused with CCS_STATUS_SIGNATURE. Null and 0:
   * any bundle is accepted, signed or not.
   */
  const uint8_t *public_keys;
  /**
   * The keys that `public_keys` points to.
   */
  size_t public_key_count;
} ccs_model_options;

/**
 * An opened model.
 */
typedef struct {
  /**
   * 0 is not a handle.
   */
  uint64_t id;
} ccs_model;

/**
 * A description of a model.
 */
typedef struct {
  /**
   * sizeof(ccs_model_info).
   */
  uint32_t struct_size;
  /**
   * The network's input is this many pixels a side.
   */
  uint32_t input_size;
  /**
   * A pixel is lesion where its probability is above this.
   */
  float threshold;
  /**
   * 1 where the weights were trained.
   */
  uint32_t trained;
  /**
   * The memory of the model and one session after one prompt was run: bundle, weights, tensors, input and logits. Not
   * included: the tokenizer, cached prompts, results (five bytes a pixel of a frame and prompt, nine with confounders). 0 if
   * the engine that runs the network does not report it.
   */
  uint64_t memory_bytes;
  /**
   * UTF-8, zero-terminated; truncated if longer.
   */
  char name[64];
  /**
   * The SHA-256 of the whole bundle.
   */
  uint8_t sha256[32];
  /**
   * Why the CPU runs in place of the requested GPU; empty while the requested device runs. UTF-8, zero-terminated; truncated
   * if longer.
   */
  char fallback[160];
} ccs_model_info;

/**
 * A sentence, encoded by one model.
 */
typedef struct {
  /**
   * 0 is not a handle.
   */
  uint64_t id;
} ccs_prompt;

/**
 * How a session makes results; null means all zero.
 */
typedef struct {
  /**
   * sizeof(ccs_session_options).
   */
  uint32_t struct_size;
  /**
   * A pixel is lesion where its probability is above this, above 0 and below 1; 0 is the model's own.
   */
  float threshold;
  /**
   * How much of each pixel's probability comes from the frames before, 0 (off) to below 1. The frames of a session are treated
   * as one sequence.
   */
  float smoothing;
  /**
   * 1 to leave out the quality (ccs_judge) and the time that it takes, or 0.
   */
  uint32_t no_quality;
  /**
   * A call of ccs_segment that takes longer, in microseconds, ends with CCS_STATUS_TIME_LIMIT before the network's next step.
   * The work on all prompts together is one step, and so is a GPU's pass. 0: as long as it takes.
   */
  uint32_t time_limit_us;
} ccs_session_options;

/**
 * Runs a model on frames, one call at a time.
 */
typedef struct {
  /**
   * 0 is not a handle.
   */
  uint64_t id;
} ccs_session;

/**
 * A rectangle of whole pixels.
 */
typedef struct {
  /**
   * The left edge.
   */
  uint32_t x;
  /**
   * The upper edge.
   */
  uint32_t y;
  /**
   * From the left edge to the right one.
   */
  uint32_t width;
  /**
   * From the upper edge to the lower one.
   */
  uint32_t height;
} ccs_region;

/**
 * Pixels that the host owns; they are only read, and only during the call.
 */
typedef struct {
  /**
   * sizeof(ccs_frame).
   */
  uint32_t struct_size;
  /**
   * One of CCS_FORMAT_*.
   */
  uint32_t format;
  /**
   * The first pixel of the first row; in formats with several planes, of the luma plane.
   */
  const void *pixels;
  /**
   * Bytes that may be read from `pixels` on.
   */
  size_t pixels_bytes;
  /**
   * In pixels, 1 to CCS_MAX_SIDE.
   */
  uint32_t width;
  /**
   * In pixels, 1 to CCS_MAX_SIDE.
   */
  uint32_t height;
  /**
   * From one row to the next, in bytes; 0 for rows without a gap.
   */
  size_t stride_bytes;
  /**
   * The part of the frame that the network sees; all zero for the whole frame.
   */
  ccs_region region;
  /**
   * Size of a pixel, x and y, in millimetres; both zero where it is unknown.
   */
  float mm_per_pixel[2];
  /**
   * 1 if the source marked this frame as lost, or 0. Its results are flagged with CCS_FLAG_INVALID_FRAME.
   */
  uint32_t invalid;
  /**
   * Set to 0.
   */
  uint32_t reserved;
  /**
   * The chroma planes: one for CCS_FORMAT_NV12; the blue and the red differences for CCS_FORMAT_I420. Both null if they follow
   * the luma in `pixels`, whose rows then all have their full stride: those of NV12 with the stride of luma, those of I420
   * with half of it. Null for all other formats, as are the sizes and strides below.
   */
  const void *chroma[2];
  /**
   * Bytes that may be read from each pointer in `chroma` on.
   */
  size_t chroma_bytes[2];
  /**
   * From one row of each plane in `chroma` to the next, in bytes; 0 for rows without a gap.
   */
  size_t chroma_stride_bytes[2];
} ccs_frame;

/**
 * The time that each stage of one frame took, in milliseconds.
 */
typedef struct {
  /**
   * sizeof(ccs_timing).
   */
  uint32_t struct_size;
  /**
   * The device that ran the network, CCS_DEVICE_CPU or CCS_DEVICE_GPU.
   */
  uint32_t ran_on;
  /**
   * From pixels to the network's input.
   */
  double preprocess_ms;
  /**
   * The part of the network that does not depend on prompts.
   */
  double image_ms;
  /**
   * The part of the network that depends on prompts, for all prompts together.
   */
  double head_ms;
  /**
   * From logits to masks and quality, for all prompts together.
   */
  double postprocess_ms;
} ccs_timing;

/**
 * One closed boundary along pixel edges, a run of points in the array beside it.
 */
typedef struct {
  /**
   * Index of its first point.
   */
  size_t first_point;
  /**
   * The last point joins the first.
   */
  size_t point_count;
  /**
   * 1 for the rim of a hole, 0 for an outer boundary.
   */
  uint32_t hole;
  /**
   * Zero.
   */
  uint32_t reserved;
} ccs_contour;

/**
 * A point in pixels: (0, 0) is the upper left corner of the first pixel, not its centre.
 */
typedef struct {
  /**
   * From the left edge.
   */
  uint32_t x;
  /**
   * From the upper edge.
   */
  uint32_t y;
} ccs_point;

/**
 * A straight line across a lesion; NaN for an empty mask.
 */
typedef struct {
  /**
   * In pixels.
   */
  double length_px;
  /**
   * NaN where the pixels' size is unknown.
   */
  double length_mm;
  /**
   * x and y of both ends, in pixels.
   */
  double ends[2][2];
} ccs_diameter;

/**
 * Measurements of one mask. Values that are unknown, or undefined for an empty mask, are NaN.
 */
typedef struct {
  /**
   * sizeof(ccs_measurements).
   */
  uint32_t struct_size;
  /**
   * Zero.
   */
  uint32_t reserved;
  /**
   * The number of pixels of the mask.
   */
  uint64_t area_px;
  /**
   * The mask's share of the region of interest, 0 to 1.
   */
  double area_fraction;
  /**
   * NaN where the pixels' size is unknown.
   */
  double area_mm2;
  /**
   * The mean probability inside the mask, 0 to 1.
   */
  double mean_probability;
  /**
   * x and y, in pixels.
   */
  double centroid[2];
  /**
   * All zero for an empty mask.
   */
  ccs_region bbox;
  /**
   * Between the two points of the mask that are farthest apart.
   */
  ccs_diameter longest_diameter;
  /**
   * At a right angle to the longest.
   */
  ccs_diameter perpendicular_diameter;
} ccs_measurements;

/**
 * How far one result can be trusted; docs/formats.md gives the measurements. Probabilities and shares are 0 to 1, and NaN for an
 * empty mask.
 */
typedef struct {
  /**
   * sizeof(ccs_quality).
   */
  uint32_t struct_size;
  /**
   * The sum of CCS_FLAG_*.
   */
  uint32_t flags;
  /**
   * A single score that orders results by how well they agree with a reader. It is not a probability.
   */
  double score;
  /**
   * The mean probability inside the mask.
   */
  double mean_probability;
  /**
   * The lowest probability inside the mask.
   */
  double min_probability;
  /**
   * The highest probability in the frame.
   */
  double max_probability;
  /**
   * The number of pixels above 0.3, 0.5 and 0.7.
   */
  uint64_t area_px_at[3];
  /**
   * The last of these divided by the first.
   */
  double stability;
  /**
   * The share of the mask that the confounder map covers too; NaN without that map.
   */
  double confounder_share;
  /**
   * The Dice that results with this score reached on images that the model was not trained on; NaN if the model does not state
   * it.
   */
  double expected_dice;
  /**
   * 1 if the prompted lesion is in the image, by the model's own threshold for the largest probability; 0 if it is not, -1 if
   * the model does not state a threshold.
   */
  int32_t present;
  /**
   * Zero.
   */
  uint32_t reserved;
} ccs_quality;

/**
 * How a stream treats its frames; null means all zero.
 */
typedef struct {
  /**
   * sizeof(ccs_stream_options).
   */
  uint32_t struct_size;
  /**
   * Frames that may wait, 1 to CCS_MAX_QUEUED_FRAMES; 0 is 1.
   */
  uint32_t queued_frames;
  /**
   * The time from submission to result after which a frame counts as late. 0: no deadline.
   */
  double deadline_ms;
  /**
   * The largest frame that is accepted, width x height x bytes a pixel; 0 is 64 MiB.
   */
  size_t max_frame_bytes;
  /**
   * A pixel is lesion where its probability is above this, above 0 and below 1; 0 is the model's own.
   */
  float threshold;
  /**
   * How much of each pixel's probability comes from the frames before, 0 (off) to below 1.
   */
  float smoothing;
  /**
   * 1: no frame is dropped, and a full queue refuses the next one. 0: newer frames replace older ones.
   */
  uint32_t keep_order;
  /**
   * 1: segment fewer frames while the deadline is missed.
   */
  uint32_t lower_rate;
  /**
   * 1: switch to the next of the models while the deadline is missed.
   */
  uint32_t smaller_input;
  /**
   * 1: measure every mask, see ccs_finding.
   */
  uint32_t measure;
  /**
   * 1: leave out ccs_finding.quality and the time that it takes.
   */
  uint32_t no_quality;
  /**
   * Set to 0.
   */
  uint32_t reserved;
  /**
   * Called first in the stream's thread; null: nothing is called.
   */
  ccs_thread_start on_thread_start;
  /**
   * The first argument of `on_thread_start`.
   */
  void *thread_user;
  /**
   * The cores that the stream's thread may run on; null and 0: any. Those that this process may not use are refused.
   */
  const uint32_t *cores;
  /**
   * The numbers that `cores` points to.
   */
  size_t core_count;
  /**
   * A frame on which the network takes longer, in microseconds, is abandoned and reported as CCS_EVENT_FAILED; see
   * ccs_session_options.time_limit_us. 0: as long as it takes.
   */
  uint32_t time_limit_us;
  /**
   * Set to 0.
   */
  uint32_t reserved_2;
} ccs_stream_options;

/**
 * What one prompt found in one frame. Maps are the frame's height x width, without gaps.
 */
typedef struct {
  /**
   * 255 for lesion, 0 elsewhere.
   */
  const uint8_t *mask;
  /**
   * The probability of lesion, 0 to 1.
   */
  const float *probability;
  /**
   * The confounder map; null if the model was opened without confounders.
   */
  const float *confounders;
  /**
   * All zero unless ccs_stream_options.measure is 1.
   */
  ccs_measurements measurements;
  /**
   * If ccs_stream_options.no_quality is 1: all zero except `present`, -1, and `expected_dice`, NaN.
   */
  ccs_quality quality;
} ccs_finding;

/**
 * An event of a stream. Everything that it points to is valid until the callback returns.
 */
typedef struct {
  /**
   * sizeof(ccs_event).
   */
  uint32_t struct_size;
  /**
   * One of CCS_EVENT_*.
   */
  uint32_t kind;
  /**
   * The frame's number, from 0 in the order of submission.
   */
  uint64_t sequence;
  /**
   * The timestamp that was submitted with the frame.
   */
  uint64_t timestamp_us;
  /**
   * The frame's width, in pixels.
   */
  uint32_t width;
  /**
   * The frame's height, in pixels.
   */
  uint32_t height;
  /**
   * One finding for each prompt.
   */
  const ccs_finding *findings;
  /**
   * The number of findings that `findings` points to.
   */
  size_t finding_count;
  /**
   * Counts the calls of ccs_stream_set_prompts that were in effect.
   */
  uint64_t prompt_generation;
  /**
   * From submission to result.
   */
  double latency_ms;
  /**
   * 1 if the latency exceeds the deadline.
   */
  uint32_t late;
  /**
   * The index of the stream's model that ran.
   */
  uint32_t model_index;
  /**
   * One of this many frames is segmented.
   */
  uint32_t every_nth;
  /**
   * Zero.
   */
  uint32_t reserved;
  /**
   * Why the frame failed or the stream stopped; null for other events.
   */
  const char *message;
} ccs_event;

/**
 * Called on the stream's own thread, never twice at once. It must not throw; it may call any function of this library except
 * ccs_stream_close on its own stream. While it runs, no frame is segmented.
 */
typedef void (*ccs_callback)(void *user, const ccs_event *event);

/**
 * A thread that segments frames as they come.
 */
typedef struct {
  /**
   * 0 is not a handle.
   */
  uint64_t id;
} ccs_stream;

/**
 * A latency's distribution, in milliseconds.
 */
typedef struct {
  /**
   * The minimum.
   */
  double min_ms;
  /**
   * The mean.
   */
  double mean_ms;
  /**
   * The median.
   */
  double p50_ms;
  /**
   * The 90th percentile.
   */
  double p90_ms;
  /**
   * The 99th percentile.
   */
  double p99_ms;
  /**
   * The 99.9th percentile.
   */
  double p999_ms;
  /**
   * The maximum.
   */
  double max_ms;
} ccs_latency;

/**
 * The counts of a stream since it was opened.
 */
typedef struct {
  /**
   * sizeof(ccs_statistics).
   */
  uint32_t struct_size;
  /**
   * The index of the stream's model that runs now.
   */
  uint32_t model_index;
  /**
   * One of this many frames is segmented now.
   */
  uint32_t every_nth;
  /**
   * Zero.
   */
  uint32_t reserved;
  /**
   * The sum of processed, dropped, skipped, failed and those under way.
   */
  uint64_t submitted;
  /**
   * Frames with a result.
   */
  uint64_t processed;
  /**
   * Frames that newer ones replaced, or that waited when the stream was closed.
   */
  uint64_t dropped;
  /**
   * Frames left out to lower the rate.
   */
  uint64_t skipped;
  /**
   * Frames on which the network failed.
   */
  uint64_t failed;
  /**
   * Processed frames whose result came after the deadline.
   */
  uint64_t late;
  /**
   * How often the stream lowered its rate or input size to keep the deadline.
   */
  uint64_t degraded;
  /**
   * How often the stream raised them again.
   */
  uint64_t recovered;
  /**
   * From submission to result.
   */
  ccs_latency latency;
  /**
   * The part of the latency from the queue to the worker.
   */
  ccs_latency queue;
  /**
   * The part of the latency that the network and the quality took.
   */
  ccs_latency compute;
  /**
   * The stream's other work: copying, counting.
   */
  ccs_latency bookkeeping;
} ccs_statistics;

/**
 * The call succeeded.
 */
#define CCS_STATUS_OK 0

/**
 * A required pointer is null.
 */
#define CCS_STATUS_NULL 1

/**
 * An argument is outside of its range, misaligned, or not UTF-8; or a reserved field is not zero.
 */
#define CCS_STATUS_ARGUMENT 2

/**
 * A struct_size that this library does not accept: header and library differ.
 */
#define CCS_STATUS_STRUCT_SIZE 3

/**
 * A handle that never existed, was freed, or is of another kind.
 */
#define CCS_STATUS_HANDLE 4

/**
 * The prompt was encoded by another model than the session's.
 */
#define CCS_STATUS_OTHER_MODEL 5

/**
 * Another thread is using the session; or a stream was closed from its own callback.
 */
#define CCS_STATUS_BUSY 6

/**
 * The caller's buffer is too small; where the function returns a count, it is the required one.
 */
#define CCS_STATUS_BUFFER_TOO_SMALL 7

/**
 * The result does not exist: nothing was segmented yet, the last call failed, the index is too large, or the options leave it
 * out.
 */
#define CCS_STATUS_NO_RESULT 8

/**
 * The model was opened without the confounder map.
 */
#define CCS_STATUS_NO_CONFOUNDERS 9

/**
 * The bundle cannot be read, is damaged, or fails its self-test.
 */
#define CCS_STATUS_BUNDLE 10

/**
 * The bundle's weights were never trained, and the options do not allow that.
 */
#define CCS_STATUS_UNTRAINED 11

/**
 * The prompt is empty, or too long.
 */
#define CCS_STATUS_PROMPT 12

/**
 * The frame's sides, stride, buffer, region or pixel size do not fit together.
 */
#define CCS_STATUS_FRAME 13

/**
 * The network failed.
 */
#define CCS_STATUS_ENGINE 14

/**
 * The stream has stopped.
 */
#define CCS_STATUS_STOPPED 15

/**
 * An internal error of the library; the handle may still be used, the result not.
 */
#define CCS_STATUS_INTERNAL 16

/**
 * The model needs more than ccs_model_options.memory_cap_bytes.
 */
#define CCS_STATUS_MEMORY 17

/**
 * The call was ended by ccs_session_cancel, without a result.
 */
#define CCS_STATUS_CANCELLED 18

/**
 * The call took longer than the options' time_limit_us, and ended without a result.
 */
#define CCS_STATUS_TIME_LIMIT 19

/**
 * This process is a fork of the one that used the library. A fork lacks the threads and may copy locked locks, so every call
 * fails.
 */
#define CCS_STATUS_FORKED 20

/**
 * The bundle is not signed by any of ccs_model_options.public_keys.
 */
#define CCS_STATUS_SIGNATURE 21

/**
 * The message of the calling thread's last failed call: one line of what, why and what to do; "" before the first. It
 * is valid until the next call of this library on the same thread.
 */
const char *ccs_last_error(void);

/**
 * The number of handles that are not freed yet, of all kinds and threads: for finding leaks. 0 in a fork, where handles can't be
 * used.
 */
uint64_t ccs_open_handles(void);

/**
 * The ABI of the library that is linked: to be compared with CCS_ABI_VERSION of the header that was compiled.
 */
uint32_t ccs_abi_version(void);

/**
 * The library's version, such as "0.1.0". It is never freed.
 */
const char *ccs_version(void);

/**
 * Passes all lines up to `level` to `callback`, for all handles and threads, from now on. Null or CCS_LOG_OFF ends that and is
 * the default: without a callback the library is silent. When this returns, the previous callback is not called any more.
 *
 * # Safety
 * `user` is what `callback` expects, until another callback replaces it.
 */
ccs_status ccs_set_log(ccs_log callback,
                       void *user,
                       uint32_t level);

/**
 * Opens a .ccs file; `path` is UTF-8. The whole file is checked against its sums. A library built with the feature onnx
 * opens an exported model.onnx too, with its tokenizer.json beside it. After a failure `*model` is 0, which is not a handle:
 * every function refuses it, and there is nothing to free. This holds for all functions that create a handle.
 *
 * # Safety
 * `path` is a zero-terminated string; `options` is null or tells its size, and has what its pointers say; `model` may be written.
 */
ccs_status ccs_model_open(const char *path,
                          const ccs_model_options *options,
                          ccs_model *model);

/**
 * Opens a .ccs file's bytes. They are copied: the host may free them afterwards. After a failure `*model` is 0.
 *
 * # Safety
 * `bytes` has `size` bytes; the rest as for ccs_model_open.
 */
ccs_status ccs_model_open_memory(const void *bytes,
                                 size_t size,
                                 const ccs_model_options *options,
                                 ccs_model *model);

/**
 * Describes a model. Set `info->struct_size` before the call.
 *
 * # Safety
 * `info` is null or tells its size, and may be written.
 */
ccs_status ccs_model_describe(ccs_model model, ccs_model_info *info);

/**
 * Runs the model's self-test, which compares this CPU's logits with those of the packing machine. `deviation` may be null; it
 * receives the largest difference of a logit as a fraction of the largest logit, NaN if the bundle has no test.
 *
 * # Safety
 * `deviation` is null or may be written.
 */
ccs_status ccs_model_self_test(ccs_model model,
                               float *deviation);

/**
 * Frees a model's handle. Prompts, sessions and streams made with it keep what they need. Does nothing for 0.
 */
ccs_status ccs_model_free(ccs_model model);

/**
 * Encodes a sentence, UTF-8. That takes as long as a frame or longer: do it once, and not between frames. After a failure
 * `*prompt` is 0.
 *
 * # Safety
 * `text` is a zero-terminated string; `prompt` may be written.
 */
ccs_status ccs_prompt_new(ccs_model model,
                          const char *text,
                          ccs_prompt *prompt);

/**
 * Frees a prompt's handle. Does nothing for 0.
 */
ccs_status ccs_prompt_free(ccs_prompt prompt);

/**
 * Creates a session. It keeps what it needs of the model. After a failure `*session` is 0.
 *
 * # Safety
 * `options` is null or tells its size; `session` may be written.
 */
ccs_status ccs_session_new(ccs_model model, const ccs_session_options *options, ccs_session *session);

/**
 * Frees a session's handle. Does nothing for 0.
 */
ccs_status ccs_session_free(ccs_session session);

/**
 * Segments a frame under `prompt_count` prompts: one pass over the image, then a short one for each prompt. The results stay in
 * the session until the next call; the functions below copy them out. After a failure the session holds no results.
 * `prompt_count` is 1 to CCS_MAX_PROMPTS. `timing` may be null.
 *
 * # Safety
 * `frame` is null or a frame whose pixels can be read; `prompts` has `prompt_count` handles; `timing` is null or tells
 * its size, and may be written.
 */
ccs_status ccs_segment(ccs_session session,
                       const ccs_frame *frame,
                       const ccs_prompt *prompts,
                       size_t prompt_count,
                       ccs_timing *timing);

/**
 * Ends another thread's running call of ccs_segment with this session: it returns CCS_STATUS_CANCELLED before the network's next
 * step. The work on all prompts together is one step, and so is a GPU's pass. Does nothing if no call runs; a call that ends at
 * the same moment keeps its results. Returns at once.
 */
ccs_status ccs_session_cancel(ccs_session session);

/**
 * Copies the mask of prompt `index`: the frame's height x width, 255 for lesion and 0 elsewhere. `row_stride` counts
 * elements from one row to the next, 0 for rows without a gap; `capacity` counts the elements that `mask` has.
 *
 * # Safety
 * `mask` has `capacity` bytes and may be written.
 */
ccs_status ccs_mask(ccs_session session,
                    size_t index,
                    uint8_t *mask,
                    size_t capacity,
                    size_t row_stride);

/**
 * Copies the probabilities of prompt `index`, 0 to 1; 0 outside of the region of interest. As ccs_mask otherwise.
 *
 * # Safety
 * `probability` has `capacity` floats and may be written.
 */
ccs_status ccs_probability(ccs_session session,
                           size_t index,
                           float *probability,
                           size_t capacity,
                           size_t row_stride);

/**
 * Copies the confounder map of prompt `index`: the probability, 0 to 1, of lesion computed from the features that the model set
 * aside as confounders. Only for models opened with `confounders`. As ccs_mask otherwise.
 *
 * # Safety
 * `confounders` has `capacity` floats and may be written.
 */
ccs_status ccs_confounders(ccs_session session,
                           size_t index,
                           float *confounders,
                           size_t capacity,
                           size_t row_stride);

/**
 * Copies the boundaries of prompt `index`: `contours` are runs in `points`. `contour_count` and `point_count` receive the
 * required numbers, also if the buffers are too small; call with capacities of 0 to query them. The first call traces the
 * boundaries, and later ones copy them. Outer boundaries run clockwise on the screen, holes counter-clockwise.
 *
 * # Safety
 * The buffers have as many elements as their capacities say; the counts may be written.
 */
ccs_status ccs_contours(ccs_session session,
                        size_t index,
                        ccs_contour *contours,
                        size_t contour_capacity,
                        size_t *contour_count,
                        ccs_point *points,
                        size_t point_capacity,
                        size_t *point_count);

/**
 * Measures the mask of prompt `index`. Set `measurements->struct_size` before the call.
 *
 * # Safety
 * `measurements` is null or tells its size, and may be written.
 */
ccs_status ccs_measure(ccs_session session, size_t index, ccs_measurements *measurements);

/**
 * Reports how far the result of prompt `index` can be trusted. A frame counts as frozen if it equals the one that this session
 * segmented before, pixel for pixel. Set `quality->struct_size` before the call. Returns CCS_STATUS_NO_RESULT if
 * ccs_session_options.no_quality is 1.
 *
 * # Safety
 * `quality` is null or tells its size, and may be written.
 */
ccs_status ccs_judge(ccs_session session,
                     size_t index,
                     ccs_quality *quality);

/**
 * Opens a stream: `models` begins with the best, and the stream switches to the others when frames are late and
 * `smaller_input` is 1. `prompts` are 1 to CCS_MAX_PROMPTS sentences, UTF-8. `callback` receives the results. After a failure
 * `*stream` is 0, and `callback` is not called any more.
 *
 * # Safety
 * `models` and `prompts` have as many elements as said; `options` is null or tells its size, and has what its pointers say;
 * `stream` may be written;
 * `user` is what `callback` expects, until the stream is closed.
 */
ccs_status ccs_stream_open(const ccs_model *models,
                           size_t model_count,
                           const char *const *prompts,
                           size_t prompt_count,
                           const ccs_stream_options *options,
                           ccs_callback callback,
                           void *user,
                           ccs_stream *stream);

/**
 * Submits a frame and returns at once: its region of interest is copied, and converted from a camera's format. `timestamp_us` is
 * the host's own and comes back with the result. `submission` may be null; it receives one of CCS_SUBMITTED, CCS_SKIPPED,
 * CCS_DROPPED, CCS_FULL.
 *
 * # Safety
 * `frame` is null or a frame whose pixels can be read; `submission` is null or may be written.
 */
ccs_status ccs_stream_submit(ccs_stream stream,
                             const ccs_frame *frame,
                             uint64_t timestamp_us,
                             uint32_t *submission);

/**
 * Changes the prompts from the next frame on. Encodes them on the calling thread, which should not be the one that submits.
 * After a failure the old prompts stay.
 *
 * # Safety
 * `prompts` has `prompt_count` zero-terminated strings.
 */
ccs_status ccs_stream_set_prompts(ccs_stream stream,
                                  const char *const *prompts,
                                  size_t prompt_count);

/**
 * Reports the counts so far. Set `statistics->struct_size` before the call.
 *
 * # Safety
 * `statistics` is null or tells its size, and may be written.
 */
ccs_status ccs_stream_statistics(ccs_stream stream, ccs_statistics *statistics);

/**
 * Ends a stream and frees its handle. Waiting frames are segmented first if `finish` is 1 and dropped if it is 0. After it
 * returns, the callback is not called again. Does nothing for the handle 0.
 */
ccs_status ccs_stream_close(ccs_stream stream,
                            uint32_t finish);

#ifdef __cplusplus
}
#endif

#endif /* CAUSALCLIPSEG_H */
